"""Depthwise convolution whose gradients take about as long as they should on a CPU.

oneDNN has a fast gradient for depthwise kernels of up to 3x3 without dilation. For larger and
dilated ones it is 4 to 10 times slower than three or four of those: 2.3 ms against 0.3 to 0.9 ms
for (4, 64, 32, 32) on one core, where the forward pass takes 0.2 ms. Here the gradient of the
input is a forward convolution with the mirrored kernel, and the gradient of the kernel is put
together from gradients of undilated kernels of up to 3x3, if there are channels enough: with 16 and
fewer, the fast kernels are not faster. A dilated kernel with a stride that divides its dilation is
one without a stride on every stride-th pixel, which is 6 times faster backward.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 3  # side of the largest kernel with a fast gradient
WIDE = 32  # channels from which on it is fast


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
        weight, bias, dilation = self.weight, self.bias, self.dilation[0]
        step = self.stride[0]
        if step > 1:  # which divides the dilation: no other pixel is read
            input = input[..., ::step, ::step].clone()  # dense, in the order of its dimensions
            dilation //= step
        if torch.is_autocast_enabled(input.device.type):
            dtype = torch.get_autocast_dtype(input.device.type)
            input, weight = input.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        output: Tensor = _Depthwise.apply(input, weight, bias, dilation)
        return output

    def _differentiates_slowly(self, x: Tensor) -> bool:
        """Return whether a backward pass may follow for which oneDNN is slow."""
        return (
            not torch.compiler.is_compiling()
            and torch.is_grad_enabled()
            and x.device.type == "cpu"
            and self.dilation[0] % self.stride[0] == 0
            and self.dilation[0] * self.kernel_size[0] > TILE
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
    gradient[n, c, h, w] x[n, c, h + i d - p, w + j d - p], p = d (size - 1) / 2. Pixels whose
    coordinates have the same remainders modulo d are images of their own, without dilation. Rows
    and columns of a larger kernel are taken three at a time, each as a kernel of its own.

    Args:
        x: Input (B, C, H, W).
        gradient: Gradient of the output, of the same shape.
        size: Side of the kernel, odd.
        dilation: Its dilation.

    Returns:
        Gradient (C, 1, size, size).
    """
    margin = size // 2
    # In bfloat16 and channels-last memory oneDNN puts foreign memory into the gradient of a dilated
    # kernel, on processors with AMX (torch 2.14.1).
    exact = dilation == 1 or x.dtype in (torch.float32, torch.float64)
    if x.shape[1] < WIDE and exact:
        return _whole_kernel_gradient(x, gradient, (size, size), margin * dilation, dilation)
    x, gradient = _undilated(x, dilation), _undilated(gradient, dilation)
    if size <= TILE:
        return _whole_kernel_gradient(x, gradient, (size, size), margin)
    x = F.pad(x, (margin,) * 4)
    height, width = gradient.shape[2:]
    starts = range(0, size, TILE)
    rows = []
    for top in starts:
        tall = min(TILE, size - top)
        row = []
        for left in starts:
            wide = min(TILE, size - left)
            part = x[..., top : top + height + tall - 1, left : left + width + wide - 1]
            row.append(_whole_kernel_gradient(part, gradient, (tall, wide), 0))
        rows.append(torch.cat(row, dim=3))
    return torch.cat(rows, dim=2)


def _undilated(x: Tensor, dilation: int) -> Tensor:
    """Return every d-th pixel of each row and column as images (d^2 B, C, H/d, W/d) of their own.

    Zeros are added at the bottom and at the right until d divides the size.
    """
    if dilation == 1:
        return x
    batch, channels, height, width = x.shape
    x = F.pad(x, (0, -width % dilation, 0, -height % dilation)).permute(0, 2, 3, 1)
    shape = (batch, x.shape[1] // dilation, dilation, x.shape[2] // dilation, dilation, channels)
    images = x.reshape(shape).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
    return images.permute(0, 3, 1, 2)


def _whole_kernel_gradient(
    x: Tensor, gradient: Tensor, size: tuple[int, int], padding: int, dilation: int = 1
) -> Tensor:
    channels = x.shape[1]
    weight = x.new_empty(channels, 1, *size)  # only its shape counts
    _, found, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [1, 1],
        [padding, padding],
        [dilation, dilation],
        False,
        [0, 0],
        channels,
        [False, True, False],
    )
    result: Tensor = found
    return result
