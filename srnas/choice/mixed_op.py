"""Mixed operations: weighted sums of candidates, on all channels or on a fraction of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice.primitive import Candidates, Primitive
from srnas.errors import UserError
from srnas.fast.memory_format import dense
from srnas.fast.merging import mixture
from srnas.primitives.batchnorm import BatchNorm2d
from srnas.primitives.darts import FactorizedReduce


class SharedWeights:
    """State that all mixed operations of a supernet share during one forward pass.

    It is a plain object, not a module. Thus the alphas are parameters of the supernet alone, the
    weights of a label are computed (or sampled) only once per pass, and `copy.deepcopy` and
    `torch.func.functional_call` need no special treatment.

    Attributes:
        weights: Candidate weights (N,) by label.
        computed: Indices of the candidates to compute, by label; if a label is missing, all of its
            candidates are computed.
        skip_weight: Weight of the auxiliary skip connection (DARTS-).
    """

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.computed: Mapping[str, Sequence[int]] = {}
        self.skip_weight = 0.0


@dataclass(frozen=True)
class MixedOpOptions:
    """Options of the mixed operations of a supernet.

    Attributes:
        affine: Whether BatchNorm in the candidates has scale and shift.
        auxiliary_skip: Whether an auxiliary skip connection is added (DARTS-).
    """

    affine: bool = False
    auxiliary_skip: bool = False


class MixedOp(nn.Module):
    """The weighted sum of the outputs of all candidates, sum_k p_k o_k(x).

    Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019, Eq. 2, where p is the
    softmax of the alphas; here it is what the supernet's relaxation makes of them. `srnas.fast` has
    faster ways to the same sum.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the position.
        candidates: The candidate operations.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the operation.
        options: How the operation is built.
    """

    def __init__(
        self,
        shared: SharedWeights,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        options: MixedOpOptions,
    ) -> None:
        super().__init__()
        self.shared = shared
        self.label = label
        self.stride = stride
        self.shape = (in_channels, out_channels, stride)
        self.primitives = dict(candidates)
        self.candidates = nn.ModuleDict(
            {
                name: _searched(primitive, in_channels, out_channels, stride, options.affine)
                for name, primitive in candidates.items()
            }
        )
        self.auxiliary_skip = (
            _auxiliary_skip(in_channels, out_channels, stride, options.affine)
            if options.auxiliary_skip
            else None
        )

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Map (B, C_in, H, W), and what else the candidates take, to (B, C_out, H', W')."""
        p, o, x = self.computed(), self.candidates, dense(x)
        total = mixture(self.primitives, o, p, x, *more, stride=self.stride)
        if total is None:
            total = add_all([p[k] * o[k](x, *more) for k in p])
        return add_all([total, *self.auxiliary(x)])

    def computed(self) -> dict[str, Tensor]:
        """Return the weights of the candidates to compute, by name."""
        p = dict(zip(self.candidates, self.shared.weights[self.label].unbind(), strict=True))
        names = list(p)
        kept = self.shared.computed.get(self.label, range(len(names)))
        return {names[k]: p[names[k]] for k in kept}

    def auxiliary(self, x: Tensor) -> list[Tensor]:
        """Return the weighted auxiliary skip connection in a list, which is empty without one."""
        if self.auxiliary_skip is None or not self.shared.skip_weight:
            return []
        return [self.shared.skip_weight * self.auxiliary_skip(x)]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Also accept checkpoints of srnas 0.1.0, which called the auxiliary skip `auxiliary`."""
        before = f"{prefix}auxiliary."
        for key in [key for key in state_dict if key.startswith(before)]:
            state_dict[f"{prefix}auxiliary_skip.{key.removeprefix(before)}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class PartialMixedOp(nn.Module):
    """A mixed operation on 1/K of the channels; the rest bypasses it (PC-DARTS, Sec. 3.1).

    The mixed operation gets the first 1/K of the channels, and the output channels are shuffled, as
    in the released code, which does not have the random mask of the paper. The bypass is the
    identity, or max pooling if the stride is not 1. Where the number of channels changes (at three
    of IMDN's four positions), it ends in a 1x1 convolution that is not searched. Otherwise it has
    no parameters.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the position.
        candidates: The candidate operations.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the operation.
        options: How the mixed operation is built.
        divisor: K.

    Raises:
        UserError: K does not divide both channel counts.
    """

    def __init__(
        self,
        shared: SharedWeights,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        options: MixedOpOptions,
        divisor: int,
    ) -> None:
        super().__init__()
        if in_channels % divisor or out_channels % divisor:
            raise UserError(
                f"partial_channels: {divisor} does not divide the {in_channels} -> "
                f"{out_channels} channels of position {label!r}"
            )
        self.divisor = divisor
        self.searched_channels = in_channels // divisor
        out_searched = out_channels // divisor
        self.mixed = MixedOp(
            shared,
            label,
            candidates,
            self.searched_channels,
            out_searched,
            stride=stride,
            options=options,
        )
        passing, out_passing = in_channels - self.searched_channels, out_channels - out_searched
        layers: list[nn.Module] = []
        if stride != 1:
            layers.append(nn.MaxPool2d(stride))
        if in_channels != out_channels:
            layers.append(nn.Conv2d(passing, out_passing, 1))
        self.bypass = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        searched, passing = self.split(x)
        return self.join(self.mixed(searched), self.bypass(passing))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split (B, C_in, H, W) into the inputs of the mixed operation and of the bypass."""
        return x[:, : self.searched_channels], x[:, self.searched_channels :]

    def join(self, searched: Tensor, passed: Tensor) -> Tensor:
        """Join the outputs of the mixed operation and of the bypass."""
        return F.channel_shuffle(torch.cat((searched, passed), dim=1), self.divisor)


def _auxiliary_skip(in_channels: int, out_channels: int, stride: int, affine: bool) -> nn.Module:
    """Build the auxiliary skip connection of DARTS-, as in its released code (`model_search.py`).

    It is the identity, or a factorized reduction at stride 2. Where the channels change at stride
    1, which DARTS- does not have, it is a 1x1 convolution.
    """
    if stride != 1:
        return FactorizedReduce(in_channels, out_channels, affine)
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _searched(
    primitive: Primitive, in_channels: int, out_channels: int, stride: int, affine: bool
) -> nn.Module:
    """Build a candidate, including the BatchNorm that some candidates have in the search only."""
    built = primitive.build(in_channels, out_channels, stride, affine)
    if not primitive.searched_norm:
        return built
    return nn.Sequential(built, BatchNorm2d(out_channels, affine=affine))


def add_all(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of one or more tensors."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
