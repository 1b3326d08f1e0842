"""Mixtures of candidate operations: all channels (DARTS), or a part of them (PC-DARTS)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.errors import UserError


class Mixture:
    """What all mixed operations of a supernet share during one forward pass.

    weights: label -> (N,) candidate weights. active: label -> the numbers of the candidates to
    compute; all where it is missing. auxiliary: the weight of the auxiliary skip.

    A plain object: so the alphas are parameters of the supernet alone, a label's weights are
    computed (or sampled) once a pass, and `copy.deepcopy` and `torch.func.functional_call` need
    no special care.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.active: dict[str, Sequence[int]] = {}
        self.auxiliary = 0.0


@dataclass(frozen=True)
class Mixing:
    """How mixtures are made, the same for a whole supernet.

    affine: whether the candidates' BatchNorm has scale and shift.
    merge: whether linear candidates are run as one convolution, see `MixedOp`.
    auxiliary: whether the input also passes by (DARTS-).
    """

    affine: bool = False
    merge: bool = True
    auxiliary: bool = False


class MixedOp(nn.Module):
    """The weighted sum of all candidates' outputs, o(x) = sum_i w_i o_i(x) (DARTS, Eq. 2).

    Candidates that are one linear convolution (dense, or depthwise and pointwise without a
    nonlinearity between them) are not run one by one: their kernels are summed with their
    weights, and one convolution with the sum is run. It is the same function with the same
    gradients, for a fraction of the time and memory.

    Candidates that are not active (`Mixture.active`) are not computed.
    """

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        candidates: Mapping[str, Any],
        in_channels: int,
        out_channels: int,
        stride: int,
        how: Mixing,
    ) -> None:
        super().__init__()
        self.mixture = mixture
        self.label = label
        self.stride = stride
        self.merge = how.merge
        self.primitives = dict(candidates)
        self.candidates = nn.ModuleDict(
            {
                name: _searched(primitive, in_channels, out_channels, stride, how.affine)
                for name, primitive in candidates.items()
            }
        )
        self.auxiliary = _pass_by(in_channels, out_channels, stride) if how.auxiliary else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        weights = dict(zip(self.candidates, self.mixture.weights[self.label].unbind(), strict=True))
        names = list(self.candidates)
        if self.label in self.mixture.active:
            names = [names[index] for index in self.mixture.active[self.label]]
        merged, size = self.merged(names)
        outputs = [weights[n] * self.candidates[n](x) for n in names if n not in merged]
        if merged:
            kernel, bias = self._merged_kernel(weights, merged, size)
            outputs.append(F.conv2d(x, kernel, bias, stride=self.stride, padding=size // 2))
        if self.auxiliary is not None and self.mixture.auxiliary:
            outputs.append(self.mixture.auxiliary * self.auxiliary(x))
        return sum(outputs)

    def merged(self, names: Sequence[str]) -> tuple[list[str], int]:
        """The candidates worth summing into one kernel, and that kernel's size.

        Those that fit inside the largest dense one: then the sum costs what that one costs.
        """
        linear = {n: p for n, p in self.primitives.items() if n in names and p.linear_size}
        size = max((p.linear_size for p in linear.values() if p.dense), default=0)
        fitting = [name for name, p in linear.items() if p.linear_size <= size]
        return (fitting, size) if self.merge and len(fitting) > 1 else ([], 0)

    def _merged_kernel(
        self, weights: Mapping[str, Tensor], names: Sequence[str], size: int
    ) -> tuple[Tensor, Tensor]:
        kernels, biases = [], []
        for name in names:
            kernel, bias = self.primitives[name].as_kernel(self.candidates[name])
            margin = (size - kernel.shape[-1]) // 2
            kernels.append(F.pad(weights[name] * kernel, (margin,) * 4))
            biases.append(weights[name] * bias)
        return sum(kernels), sum(biases)


def _pass_by(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity; where the shape changes a 1x1 convolution (DARTS- has a like one there)."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def _searched(
    primitive: Any, in_channels: int, out_channels: int, stride: int, affine: bool
) -> nn.Module:
    """A candidate as a mixture holds it: with the BatchNorm that only searching needs."""
    built = primitive.build(in_channels, out_channels, stride, affine)
    if not primitive.searched_norm:
        return built
    return nn.Sequential(built, nn.BatchNorm2d(out_channels, affine=affine))


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
        how: Mixing,
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
        self.mixed = MixedOp(mixture, label, candidates, self.active, out_active, stride, how)
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
