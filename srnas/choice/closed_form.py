"""Weights that bring one operation close to another, in closed form.

A convolution has the kernel of the other one, padded or cropped; a separable one its best
approximation of rank 1 for each input channel, by the first singular vectors (Eckart, Young, The
approximation of one matrix by another of lower rank, Psychometrika 1936).
"""

import torch
from torch import Tensor, nn

from srnas.choice.primitive import Primitive


def take_after(
    module: nn.Module, primitive: Primitive, base: nn.Module, based_on: Primitive
) -> bool:
    """Bring an operation as close to a trained one as a closed form can.

    Args:
        module: The operation, which `primitive` has built.
        primitive: Its candidate.
        base: The trained operation.
        based_on: Its candidate.

    Returns:
        Whether there is a closed form; otherwise the weights stay.
    """
    if primitive == based_on:
        module.load_state_dict(base.state_dict(), strict=False)  # BatchNorm may have no scale
        return True
    if not based_on.linear_size:
        return False
    kernel, bias = based_on.as_kernel(base)  # type: ignore[attr-defined]
    return approximate(module, kernel, bias)


@torch.no_grad()
def approximate(module: nn.Module, kernel: Tensor, bias: Tensor) -> bool:
    """Bring a module as close to a dense convolution as a closed form can.

    Args:
        module: A convolution, or one without and one with a 1x1 kernel, the first depthwise; and
            perhaps BatchNorm.
        kernel: (C_out, C_in, side, side).
        bias: (C_out,).

    Returns:
        Whether the module has such a form; others are left as they are.
    """
    layers = [m for m in module.modules() if not list(m.children())]
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    if len(convs) + len(norms) < len(layers) or any(conv.dilation != (1, 1) for conv in convs):
        return False
    if len(convs) == 1 and convs[0].groups == 1:
        convs[0].weight.copy_(resized(kernel, convs[0].kernel_size[0]))
    elif len(convs) == 2 and convs[0].groups == kernel.shape[1] and convs[1].kernel_size == (1, 1):
        depthwise, pointwise = separated(resized(kernel, convs[0].kernel_size[0]))
        convs[0].weight.copy_(depthwise)
        convs[1].weight.copy_(pointwise)
        if convs[0].bias is not None:
            convs[0].bias.zero_()
    else:
        return False
    if convs[-1].bias is not None:
        convs[-1].bias.copy_(bias)
    for norm in norms:
        norm.reset_running_stats()
        if norm.affine:
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            norm.bias.zero_()
    return True


def resized(kernel: Tensor, side: int) -> Tensor:
    """Pad a kernel (..., k, k) with zeros, or take its middle, to (..., side, side)."""
    margin = (side - kernel.shape[-1]) // 2
    return nn.functional.pad(kernel, (margin,) * 4)


def separated(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the depthwise and pointwise kernels nearest to a dense one.

    They minimize the squared difference of the kernels, for each input channel on its own.

    Args:
        kernel: (C_out, C_in, k, k).

    Returns:
        Depthwise (C_in, 1, k, k), of norm 1, and pointwise (C_out, C_in, 1, 1).
    """
    matrices = kernel.movedim(1, 0).flatten(2)  # (C_in, C_out, k * k)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    side = kernel.shape[-1]
    depthwise = v[:, 0].reshape(-1, 1, side, side)
    return depthwise, (u[:, :, 0] * s[:, :1]).T[:, :, None, None].contiguous()
