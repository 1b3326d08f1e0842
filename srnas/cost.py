"""What a network costs: parameters and multiply-accumulates (MACs).

MACs follow fvcore's convention: one for each multiplication of a convolution or linear
layer, two for each value through an affine BatchNorm in evaluation mode (one without scale
and shift), one for each value through global average pooling, four for each output of
bilinear enlargement; activations and sums count nothing. They are counted on the meta device,
by shapes, so the size of the image costs neither time nor memory.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from srnas.choice import Supernet
from srnas.choice.mixed_op import MixedOp

HD = (1280, 720)
CIFAR = (32, 32)


def count_parameters(network: nn.Module) -> int:
    """All learnable parameters."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, width: int, height: int) -> int:
    """MACs of one RGB image of the given size, the network in evaluation mode."""
    shapes = copy.deepcopy(network).to("meta").eval()
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_CUSTOM) as counter:
        shapes(image)
    total = counter.get_total_flops()
    assert total % 2 == 0, total
    return total // 2


def profile(
    network: nn.Module, scale: int | None, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Parameters, and MACs under both conventions: LR 1280x720 and HR 1280x720.

    size: an input's (width, height) to count too. Where the scale does not divide 1280x720, the
    LR size of the HR convention is rounded down. scale: None for a classifier, counted at
    `size` alone (default: 32x32, CIFAR).
    """
    result: dict[str, Any] = {"params": count_parameters(network)}
    if scale:
        width, height = HD
        result["lr_1280x720"] = {"macs": count_macs(network, width, height)}
        result["hr_1280x720"] = {"macs": count_macs(network, width // scale, height // scale)}
    else:
        size = size or CIFAR
    if size:
        result["input"] = {"size": f"{size[0]}x{size[1]}", "macs": count_macs(network, *size)}
    return result


def expected_macs_per_pixel(supernet: Supernet) -> Tensor:
    """sum over all mixtures of sum_i p_i * MACs_i for one pixel: the searched part's cost.

    At each position's channels, those of its first place (see `Position`).
    """
    probabilities = supernet.probabilities()
    total = torch.zeros(())
    for module in supernet.network.modules():
        if isinstance(module, MixedOp):
            position = supernet.positions[module.label]
            p = probabilities[module.label].cpu()
            macs = [
                c.macs_per_pixel(position.in_channels, position.out_channels)
                for c in position.candidates.values()
            ]
            total = total + (p * torch.tensor(macs, dtype=p.dtype)).sum()
    return total.detach()


def _batch_norm(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """In the counter's unit of two a MAC; fvcore: one MAC a value, two if affine."""
    return 2 * torch.Size(x).numel() * (2 if weight is not None else 1)


def _global_pool(x: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * torch.Size(x).numel()


def _bilinear(x: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 4 * torch.Size(out_shape).numel()


_CUSTOM = {
    torch.ops.aten.upsample_bilinear2d: _bilinear,
    torch.ops.aten.mean: _global_pool,  # what adaptive_avg_pool2d(x, 1) becomes
    torch.ops.aten.native_batch_norm: _batch_norm,
    torch.ops.aten._native_batch_norm_legit_no_training: _batch_norm,
    torch.ops.aten._native_batch_norm_legit: _batch_norm,
    torch.ops.aten.batch_norm: _batch_norm,
    torch.ops.aten.cudnn_batch_norm: _batch_norm,
}
