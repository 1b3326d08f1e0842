"""Mixtures of candidate operations: all channels (DARTS), or a part of them (PC-DARTS)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.errors import UserError


class Mixture:
    """Holds, during one forward pass of the supernet, each label's candidate weights.

    A plain object that all mixed operations of a supernet share: so the alphas are
    parameters of the supernet alone, a label's weights are computed (or sampled) once a
    pass, and `copy.deepcopy` and `torch.func.functional_call` need no special care.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}


class MixedOp(nn.Module):
    """The weighted sum of all candidates' outputs, o(x) = sum_i w_i o_i(x) (DARTS, Eq. 2).

    Candidates that are one linear convolution (dense, or depthwise and pointwise without a
    nonlinearity between them) are not run one by one: their kernels are summed with their
    weights, and one convolution with the sum is run. It is the same function with the same
    gradients, for a fraction of the time and memory. merge=False runs each by itself.
    """

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        candidates: Mapping[str, Any],
        in_channels: int,
        out_channels: int,
        stride: int,
        affine: bool,
        merge: bool = True,
    ) -> None:
        super().__init__()
        self.mixture = mixture
        self.label = label
        self.stride = stride
        self.primitives = dict(candidates)
        self.merged, self.merged_size = _mergeable(candidates) if merge else ([], 0)
        self.candidates = nn.ModuleDict(
            {
                name: _searched(primitive, in_channels, out_channels, stride, affine)
                for name, primitive in candidates.items()
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        weights = dict(zip(self.candidates, self.mixture.weights[self.label].unbind(), strict=True))
        outputs = [
            weights[name] * op(x) for name, op in self.candidates.items() if name not in self.merged
        ]
        if self.merged:
            kernel, bias = self._merged_kernel(weights)
            outputs.append(
                F.conv2d(x, kernel, bias, stride=self.stride, padding=self.merged_size // 2)
            )
        return sum(outputs)

    def _merged_kernel(self, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        kernels, biases = [], []
        for name in self.merged:
            kernel, bias = self.primitives[name].as_kernel(self.candidates[name])
            margin = (self.merged_size - kernel.shape[-1]) // 2
            kernels.append(F.pad(weights[name] * kernel, (margin,) * 4))
            biases.append(weights[name] * bias)
        return sum(kernels), sum(biases)


def _searched(
    primitive: Any, in_channels: int, out_channels: int, stride: int, affine: bool
) -> nn.Module:
    """A candidate as a mixture holds it: with the BatchNorm that only searching needs."""
    built = primitive.build(in_channels, out_channels, stride, affine)
    if not primitive.searched_norm:
        return built
    return nn.Sequential(built, nn.BatchNorm2d(out_channels, affine=affine))


def _mergeable(candidates: Mapping[str, Any]) -> tuple[list[str], int]:
    """The candidates worth summing into one kernel, and that kernel's size.

    Those that fit inside the largest dense one: then the sum costs what that one costs.
    """
    linear = {name: p for name, p in candidates.items() if p.linear_size}
    size = max((p.linear_size for p in linear.values() if p.dense), default=0)
    merged = [name for name, p in linear.items() if p.linear_size <= size]
    return (merged, size) if len(merged) > 1 else ([], 0)


class PartialMixedOp(nn.Module):
    """A mixture over the first 1/K of the channels; the rest passes by (PC-DARTS, Sec. 3.1).

    The channels are split in order and shuffled afterwards, as in the released code (the
    paper's random mask is not in it). The bypass is the identity, max pooling where
    the stride is 2; where the number of channels changes (three of IMDN's four positions) it
    ends in one 1x1 convolution, which is not searched. Otherwise it has no parameters.

    Raises UserError if `divisor` (K) does not divide both channel counts.
    """

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        candidates: Mapping[str, Any],
        in_channels: int,
        out_channels: int,
        stride: int,
        affine: bool,
        merge: bool,
        divisor: int,
    ) -> None:
        super().__init__()
        if in_channels % divisor or out_channels % divisor:
            raise UserError(
                f"partial_channels: {divisor} does not divide the {in_channels} -> "
                f"{out_channels} channels of position {label!r}"
            )
        self.divisor = divisor
        self.active = in_channels // divisor
        out_active = out_channels // divisor
        self.mixed = MixedOp(
            mixture, label, candidates, self.active, out_active, stride, affine, merge
        )
        layers: list[nn.Module] = []
        if stride != 1:
            layers.append(nn.MaxPool2d(stride))
        if in_channels != out_channels:
            layers.append(nn.Conv2d(in_channels - self.active, out_channels - out_active, 1))
        self.bypass = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        searched = self.mixed(x[:, : self.active])
        passed = self.bypass(x[:, self.active :])
        both = torch.cat((searched, passed), dim=1)
        # F.channel_shuffle has no derivative in torch 2.4
        return both.unflatten(1, (self.divisor, -1)).transpose(1, 2).flatten(1, 2)
