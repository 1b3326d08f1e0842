"""Depthwise convolution whose gradients take about as long as they should on a CPU.

oneDNN differentiates a depthwise convolution of 5x5, or a dilated one, 5 to 60 times slower than
it runs forward: 16 ms against 0.2 ms for (4, 64, 32, 32), 5x5 with dilation 2, on two cores. Here
the gradient of the input is a forward convolution with the mirrored kernel, and the gradient of the
kernel is k products of matrices: about 2 ms together.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_WIDTH = 128  # the products grow with the square of the width; beyond it oneDNN is as fast


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with zero padding that keeps the size at stride 1.

    Parameters, outputs and gradients (also of higher order) are those of `nn.Conv2d` with
    groups=channels; only the time of the backward pass on a CPU differs.

    Args:
        channels: Channels of the input and the output.
        kernel_size: Side of the kernel, odd.
        stride: Stride.
        dilation: Dilation.
        bias: Whether there is a bias.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H/stride, W/stride)."""
        if not self._differentiates_slowly(input):
            return super().forward(input)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(input.device.type):
            dtype = torch.get_autocast_dtype(input.device.type)
            input, weight = input.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        output: Tensor = _Depthwise.apply(input, weight, bias, self.dilation[0])
        return output

    def _differentiates_slowly(self, x: Tensor) -> bool:
        """Return whether a backward pass may follow for which oneDNN is slow."""
        return (
            not torch.compiler.is_compiling()  # before the width, which must not become a guard
            and torch.is_grad_enabled()
            and x.device.type == "cpu"
            and self.stride[0] == 1
            and self.dilation[0] * self.kernel_size[0] > 3
            and x.shape[-1] <= MAX_WIDTH
            and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _correlate(x, weight, bias, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _correlate(gradient, weight.flip(2, 3), None, ctx.dilation)
        if ctx.needs_input_grad[1]:
            of_weight = kernel_gradient(x, gradient, weight.shape[-1], ctx.dilation)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def _correlate(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=len(weight))


def kernel_gradient(x: Tensor, gradient: Tensor, size: int, dilation: int) -> Tensor:
    """Return the gradient of a depthwise kernel.

    With x padded by zeros it is D[c, i, j] = sum over n, h, w of
    gradient[n, c, h, w] x[n, c, h + i d - p, w + j d - p], p = d (size - 1) / 2. For each row i of
    the kernel one product of matrices sums over n and h for all pairs of columns (w', w) of x and
    gradient. D[c, i, j] is the sum of those with w' = w + j d - p, a diagonal. The images of the
    batch lie one under the other with p rows of zeros between them, so that a shift by rows is a
    view.

    Args:
        x: Input (B, C, H, W).
        gradient: Gradient of the output, of the same shape.
        size: Side of the kernel, odd.
        dilation: Its dilation.

    Returns:
        Gradient (C, 1, size, size).
    """
    batch, channels, height, width = x.shape
    margin = dilation * (size // 2)
    rows = batch * (height + margin)
    below = (0, 0, 0, margin)
    shifted = F.pad(x.transpose(0, 1), below).reshape(channels, rows, width)
    shifted = F.pad(shifted, (0, 0, margin, margin)).transpose(1, 2)
    fixed = F.pad(gradient.transpose(0, 1), below).reshape(channels, rows, width)
    pairs = torch.stack(
        [torch.bmm(shifted[..., i * dilation :][..., :rows], fixed) for i in range(size)], dim=1
    )
    pairs = F.pad(pairs, (0, 0, margin, margin))  # (C, i, W + 2 p, W)
    channel, row, line, column = pairs.stride()
    diagonals = pairs.as_strided(
        (channels, size, size, width), (channel, row, dilation * line, line + column)
    )
    return diagonals.sum(3).unsqueeze(1)
