"""Weights of candidates that go into parameters instead of feature maps.

The weight of a candidate that ends in BatchNorm goes into the norm's scale, that of one that ends
in a convolution into its kernel: neither the product nor its factor is a map to compute and keep.
Zeros are not added at all.
"""

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.fast import on
from srnas.fast.memory_format import in_fast_memory
from srnas.primitives.batchnorm import BatchNorm2d, count_batch
from srnas.primitives.darts import Zero


def without_zeros(candidates: nn.ModuleDict, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the weights of the candidates other than zeros, if there is one."""
    others = {name: w for name, w in weights.items() if type(candidates[name]) is not Zero}
    return others if others and on("folding") else weights


def weighted_output(weight: Tensor, candidate: nn.Module, x: Tensor, *more: Tensor) -> Tensor:
    """Return weight * candidate(x, *more)."""
    layers = layers_of(candidate)
    if type(layers[-1]) not in (BatchNorm2d, nn.BatchNorm2d, nn.Conv2d) or not on("folding"):
        output: Tensor = weight * candidate(x, *more)
        return output
    for layer in layers[:-1]:
        x = layer(x)
    return _folded(weight, layers[-1], x)


def layers_of(candidate: nn.Module) -> list[nn.Module]:
    """Return the layers of a candidate, one after the other."""
    return list(candidate) if isinstance(candidate, nn.Sequential) else [candidate]


def _folded(weight: Tensor, last: nn.Module, x: Tensor) -> Tensor:
    if isinstance(last, nn.BatchNorm2d):
        return _scaled_norm(weight, last, x)
    assert isinstance(last, nn.Conv2d)
    bias = None if last.bias is None else weight * last.bias
    return F.conv2d(
        x, weight * last.weight, bias, last.stride, last.padding, last.dilation, last.groups
    )


def _scaled_norm(weight: Tensor, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return weight * norm(x), and update its running statistics as `norm` does."""
    momentum = count_batch(norm)
    weight = weight.to(torch.promote_types(x.dtype, torch.float32))
    training = norm.training or norm.running_mean is None
    scaled = partial(
        F.batch_norm,
        running_mean=norm.running_mean,
        running_var=norm.running_var,
        # no stride of 0
        weight=weight * norm.weight if norm.affine else weight.repeat(norm.num_features),
        bias=weight * norm.bias if norm.affine else None,
        training=training,
        momentum=momentum,
        eps=norm.eps,
    )
    return in_fast_memory(scaled, x) if training else scaled(x)
