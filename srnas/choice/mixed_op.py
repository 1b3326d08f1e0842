"""Mixtures of candidate operations: all channels (DARTS), or a part of them (PC-DARTS)."""

import torch
from torch import Tensor, nn


class Mixture:
    """Holds, during one forward pass of the supernet, each label's candidate weights.

    A plain object that all mixed operations of a supernet share: so the alphas are
    parameters of the supernet alone, a label's weights are computed (or sampled) once a
    pass, and `copy.deepcopy` and `torch.func.functional_call` need no special care.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}


class MixedOp(nn.Module):
    """The weighted sum of all candidates' outputs, o(x) = sum_i w_i o_i(x) (DARTS, Eq. 2)."""

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        candidates: dict,
        in_channels: int,
        out_channels: int,
        stride: int,
        affine: bool,
    ) -> None:
        super().__init__()
        self.mixture = mixture
        self.label = label
        self.candidates = nn.ModuleDict(
            {
                name: primitive.build(in_channels, out_channels, stride, affine)
                for name, primitive in candidates.items()
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        weights = self.mixture.weights[self.label].unbind()
        return sum(w * op(x) for w, op in zip(weights, self.candidates.values(), strict=True))


class PartialMixedOp(nn.Module):
    """A mixture over the first 1/K of the channels; the rest passes by (PC-DARTS, Sec. 3.1).

    The channels are split in order and shuffled afterwards, as in the released code (the
    paper's random mask is not in it: METHODS X5). Where the number of channels stays and the
    stride is 1, the bypass is the identity and has no parameters; elsewhere (two of IMDN's
    four positions change channels) one 1x1 convolution, which is not searched, maps the rest.

    Raises ValueError if `divisor` (K) does not divide both channel counts.
    """

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        candidates: dict,
        in_channels: int,
        out_channels: int,
        stride: int,
        affine: bool,
        divisor: int,
    ) -> None:
        super().__init__()
        if in_channels % divisor or out_channels % divisor:
            raise ValueError(
                f"partial_channels: {divisor} does not divide the {in_channels} -> "
                f"{out_channels} channels of position {label!r}"
            )
        self.divisor = divisor
        self.active = in_channels // divisor
        out_active = out_channels // divisor
        self.mixed = MixedOp(mixture, label, candidates, self.active, out_active, stride, affine)
        self.bypass: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.bypass = nn.Conv2d(
                in_channels - self.active, out_channels - out_active, 1, stride=stride
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        searched = self.mixed(x[:, : self.active])
        passed = self.bypass(x[:, self.active :])
        return channel_shuffle(torch.cat((searched, passed), dim=1), self.divisor)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the `groups` groups of channels: (B, K*c, H, W) -> the same, permuted."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
