"""The sum of a mixed operation, with candidates that are a single linear convolution run as one.

Their kernels are added with their weights, and the sum is run as one convolution: the same output
and gradients at a fraction of the time and memory.
"""

from collections.abc import Collection, Mapping
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor, nn

from srnas.fast import on
from srnas.fast.folding import weighted_output, without_zeros

if TYPE_CHECKING:
    from srnas.choice.primitive import Candidates, LinearPrimitive, Primitive


def mixture(
    primitives: "Candidates",
    candidates: nn.ModuleDict,
    weights: Mapping[str, Tensor],
    x: Tensor,
    *more: Tensor,
    stride: int,
) -> Tensor | None:
    """Return sum_k p_k o_k(x); None if merging and folding are switched off.

    Args:
        primitives: What built the candidates, by name.
        candidates: o.
        weights: p, of the candidates to compute.
        x: Input (B, C_in, H, W).
        more: What else the candidates take.
        stride: Stride of the candidates.
    """
    if not (on("merging") or on("folding")):
        return None
    weights = without_zeros(candidates, weights)
    names, size = mergeable(primitives, weights)
    terms = [
        weighted_output(weight, candidates[name], x, *more)
        for name, weight in weights.items()
        if name not in names
    ]
    if names:
        parts = [
            _weighted_kernel(weights[name], primitives[name], candidates[name], size)
            for name in names
        ]
        kernel, bias = (reduce(add, part) for part in zip(*parts, strict=True))
        terms.append(F.conv2d(x, kernel, bias, stride=stride, padding=size // 2))
    return reduce(add, terms)


def mergeable(primitives: "Candidates", names: Collection[str]) -> tuple[list[str], int]:
    """Return the names of the candidates to run as one convolution, and its kernel size.

    These are the linear candidates (dense, or depthwise and pointwise without a nonlinearity in
    between) whose kernels fit into the largest dense kernel, since the sum then costs no more than
    the largest one alone.

    Args:
        primitives: All candidates of a mixed operation.
        names: Names of those that are computed.

    Returns:
        The names and the side of the kernel, or ([], 0) if nothing is merged.
    """
    linear = {n: p for n, p in primitives.items() if n in names and p.linear_size}
    size = max((p.linear_size for p in linear.values() if p.dense), default=0)
    fitting = [name for name, p in linear.items() if p.linear_size <= size]
    return (fitting, size) if len(fitting) > 1 and on("merging") else ([], 0)


def _weighted_kernel(
    weight: Tensor, primitive: "Primitive", candidate: nn.Module, size: int
) -> tuple[Tensor, Tensor]:
    kernel, bias = cast("LinearPrimitive", primitive).as_kernel(candidate)
    margin = (size - kernel.shape[-1]) // 2
    return F.pad(weight * kernel, (margin,) * 4), weight * bias
