"""Depthwise convolution whose gradients take about as long as they should on a CPU.

oneDNN has a fast gradient for depthwise kernels that are up to 3 pixels wide and not dilated. For
others it is 4 to 10 times slower: 3.7 ms for a 5x5 kernel on (64, 16, 32, 32), where the forward
pass takes 0.4 ms. Here the gradient of the input is a forward convolution with the mirrored
kernel, and the gradient of the kernel comes from kernels of 3 columns on the same memory seen as
another shape (1.0 ms). A dilated kernel with a stride that divides its dilation is one without a
stride on every stride-th pixel, which is 6 times faster backward.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srnas.fast import on

FAST = 3  # side of the largest kernel with a fast gradient
SMALL = 2**16  # numbers in a map, below which one slow call is not slower than several fast ones


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Apply a depthwise convolution with zero padding that keeps the size at stride 1.

    Args:
        x: Input (B, C, H, W).
        weight: Kernels (C, 1, side, side), side odd.
        bias: (C,) or None.
        stride: Stride.
        dilation: Dilation.

    Returns:
        (B, C, H/stride, W/stride).
    """
    side = weight.shape[-1]
    if not _differentiates_slowly(x, side, stride, dilation):
        padding = dilation * (side // 2)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups=len(weight))
    if stride > 1:  # which divides the dilation: no other pixel is read
        x = x[..., ::stride, ::stride].clone()  # dense, in the order of its dimensions
        dilation //= stride
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    output: Tensor = _Depthwise.apply(x, weight, bias, dilation)
    return output


def _differentiates_slowly(x: Tensor, side: int, stride: int, dilation: int) -> bool:
    """Return whether a backward pass may follow for which oneDNN is slow."""
    return (
        not torch.compiler.is_compiling()
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and dilation % stride == 0
        and dilation * side > FAST
        and on("depthwise")
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
    gradient[n, c, h, w] x[n, c, h + (i - m) d, w + (j - m) d], m = (size - 1) / 2. In channels-last
    memory every f successive pixels of a row are also one pixel with f C channels. A kernel that is
    three of those wide has the columns -f, 0 and f; its rows may be many, since oneDNN is slow for
    wide kernels only, so that the rows between dilated ones are computed and dropped.

    Args:
        x: Input (B, C, H, W).
        gradient: Gradient of the output, of the same shape.
        size: Side of the kernel, odd.
        dilation: Its dilation.

    Returns:
        Gradient (C, 1, size, size).
    """
    margin, channels = size // 2, x.shape[1]
    # In bfloat16 and channels-last memory oneDNN puts foreign memory into the gradient of a dilated
    # kernel, on processors with AMX (torch 2.14.1).
    exact = dilation == 1 or x.dtype in (torch.float32, torch.float64)
    if size == 1 or (x.numel() < SMALL and exact):
        return _library_gradient(x, gradient, (size, size), (margin * dilation,) * 2, dilation)
    if dilation * (size - 1) + 1 > x.shape[2]:  # oneDNN is slow for kernels higher than the map
        x, gradient = _undilated(x, dilation), _undilated(gradient, dilation)
        dilation = 1
    columns = {}
    for far in range(1, margin + 1):
        fold = far * dilation
        found = _library_gradient(
            _folded(x, fold),
            _folded(gradient, fold),
            (dilation * (size - 1) + 1, 3),
            (dilation * margin, 1),
        )
        rows = found[:, :, ::dilation].unflatten(0, (fold, channels)).sum(0)
        columns[-far], columns[0], columns[far] = rows.unbind(3)
    return torch.stack([columns[index] for index in sorted(columns)], dim=3)


def _folded(x: Tensor, fold: int) -> Tensor:
    """Return successive pixels of a row as one: (B, fold C, H, W / fold), padded at the right."""
    if x.shape[3] % fold:
        x = F.pad(x, (0, -x.shape[3] % fold))
    x = x.permute(0, 2, 3, 1).contiguous()
    return x.unflatten(2, (-1, fold)).flatten(3).permute(0, 3, 1, 2)


def _undilated(x: Tensor, dilation: int) -> Tensor:
    """Return every d-th pixel of each row and column as images (d^2 B, C, H/d, W/d) of their own.

    Zeros are added at the bottom and at the right until d divides the size.
    """
    batch, channels, height, width = x.shape
    x = F.pad(x, (0, -width % dilation, 0, -height % dilation)).permute(0, 2, 3, 1)
    shape = (batch, x.shape[1] // dilation, dilation, x.shape[2] // dilation, dilation, channels)
    images = x.reshape(shape).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
    return images.permute(0, 3, 1, 2)


def _library_gradient(
    x: Tensor,
    gradient: Tensor,
    size: tuple[int, int],
    padding: tuple[int, int],
    dilation: int = 1,
) -> Tensor:
    channels = x.shape[1]
    weight = x.new_empty(channels, 1, *size)  # only its shape counts
    _, found, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [1, 1],
        padding,
        [dilation, dilation],
        False,
        [0, 0],
        channels,
        [False, True, False],
    )
    result: Tensor = found
    return result
