"""Cost of a network: parameters, multiply-accumulates (MACs) and activations.

MACs follow the convention of fvcore: one per multiplication of a convolution or linear layer, two
per value of an affine BatchNorm in evaluation mode (one without scale and shift), one per value of
global average pooling, and four per output of bilinear interpolation. Activation functions and
sums are not counted. The network runs on the meta device, which computes shapes only, so time and
memory do not depend on the size of the image. The tests compare the counts with those of fvcore.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from srnas.choice import Space, Supernet

HD = (1280, 720)


def count_parameters(network: nn.Module) -> int:
    """Count all learnable parameters, without those that only training needs."""
    return sum(p.numel() for p in _shapes(network).parameters())


def count_macs(network: nn.Module, width: int, height: int) -> int:
    """Count the MACs for one RGB image of width x height, with the network in evaluation mode."""
    total = _run(network, width, height, _CUSTOM).get_total_flops()
    assert total % 2 == 0, total
    return total // 2


def count_activations(network: nn.Module, width: int, height: int) -> int:
    """Count the activations for one RGB image of width x height, in evaluation mode.

    Activations are the elements of the outputs of all convolutions (Radosavovic et al., Designing
    Network Design Spaces, CVPR 2020). The NTIRE challenges on efficient super-resolution count them
    for an LR image of 256x256.
    """
    convolution = torch.ops.aten.convolution
    counter = _run(network, width, height, {convolution: _outputs})
    return counter.get_flop_counts().get("Global", {}).get(convolution, 0)


def _run(
    network: nn.Module, width: int, height: int, mapping: Mapping[Any, Any]
) -> FlopCounterMode:
    """Run the network on shapes, and return the counter with the mapping's counts."""
    shapes = _shapes(network)
    image = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=dict(mapping)) as counter:
        shapes(image)
    return counter


def _shapes(network: nn.Module) -> nn.Module:
    """Return the network on the meta device as it is deployed, see `Space.merge`."""
    shapes = copy.deepcopy(network).to("meta").eval()
    if isinstance(shapes, Space):
        shapes.merge()
    return shapes


def profile(
    network: nn.Module, sizes: Mapping[str, tuple[int, int]], other: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Count the parameters, and the MACs at several sizes.

    Args:
        sizes: Size (width, height) of the input, by convention.
        other: One more (width, height).

    Returns:
        {"params": count, CONVENTION: {"macs": count}, ..., "input": {"size": "WxH", "macs":
        count}}, where the last entry is for `other`.
    """
    result: dict[str, Any] = {"params": count_parameters(network)}
    for convention, size in sizes.items():
        result[convention] = {"macs": count_macs(network, *size)}
    if other:
        result["input"] = {"size": f"{other[0]}x{other[1]}", "macs": count_macs(network, *other)}
    return result


def expected_macs_per_pixel(supernet: Supernet) -> Tensor:
    """Compute the expected cost of the open choices per output pixel, see `Choice.costs`.

    It is the sum over all modules that weigh alternatives of sum_i p_i * MACs_i. The numbers of
    channels are those of the first module at a place, undivided even with partial channels.

    Returns:
        A scalar without gradient.
    """
    probabilities = supernet.probabilities()
    total = torch.zeros(())
    for module in supernet.network.modules():
        choice = supernet.choices.competing.get(getattr(module, "label", ""))
        if choice is not None:
            p = probabilities[choice.label].cpu()
            total = total + (p * torch.tensor(choice.costs(), dtype=p.dtype)).sum()
    return total.detach()


def _outputs(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return torch.Size(out_shape).numel()


def _batch_norm(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Count in the unit of the counter, which is two per MAC."""
    return 2 * torch.Size(x).numel() * (2 if weight is not None else 1)


def _global_pool(x: Any, dims: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Count adaptive_avg_pool2d(x, 1), which becomes a mean over dimensions -1 and -2.

    Other means are sums of values, which the convention does not count.
    """
    return 2 * torch.Size(x).numel() if list(dims) == [-1, -2] else 0


def _bilinear(x: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 4 * torch.Size(out_shape).numel()


_CUSTOM: dict[Any, Any] = {
    torch.ops.aten.upsample_bilinear2d: _bilinear,
    torch.ops.aten.mean: _global_pool,
    torch.ops.aten.native_batch_norm: _batch_norm,
    torch.ops.aten._native_batch_norm_legit_no_training: _batch_norm,
    torch.ops.aten._native_batch_norm_legit: _batch_norm,
    torch.ops.aten.batch_norm: _batch_norm,
    torch.ops.aten.cudnn_batch_norm: _batch_norm,
}
