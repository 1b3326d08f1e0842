"""Operations: one of several candidate modules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from srnas.choice.choice import Choice, Context, OneOf
from srnas.choice.mixed_op import MixedOp, PartialMixedOp
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates, Primitive
from srnas.errors import UserError, did_you_mean, short


@dataclass(frozen=True)
class OpChoice(OneOf):
    """A searched operation.

    Attributes:
        place: Where it is.
        candidates: The candidate operations by name, in the order of the logits.
        in_channels, out_channels: Channels of input and output. In a network of cells, later
            modules at the same place may have more.
        stride: Stride of the module.
        splits: Whether partial channels apply, see `PartialMixedOp`.
    """

    place: Place
    candidates: Candidates
    in_channels: int
    out_channels: int
    stride: int = 1
    splits: bool = True
    adds_up: ClassVar[bool] = True

    def alternatives(self) -> list[str]:
        """Return the names of the candidates."""
        return list(self.candidates)

    def agrees(self, other: Choice) -> bool:
        """Return whether the other has the same candidates."""
        return isinstance(other, OpChoice) and other.candidates == self.candidates

    def check(self, value: Any) -> None:
        """Check that the value is the name of a candidate."""
        named(value, self.candidates, self.place)

    def relaxed(self, context: Context) -> MixedOp | PartialMixedOp:
        """Build a mixed operation.

        Raises:
            UserError: K does not divide the channels.
        """
        shape = (self.in_channels, self.out_channels)
        how: dict[str, Any] = {"stride": self.stride, "options": context.mixed}
        if context.partial_channels == 1 or not self.splits:
            return MixedOp(context.shared, self.label, self.candidates, *shape, **how)
        how["divisor"] = context.partial_channels
        return PartialMixedOp(context.shared, self.label, self.candidates, *shape, **how)

    def derived(self, value: str) -> nn.Module:
        """Build the candidate, with affine BatchNorm."""
        return self.candidates[value].build(self.in_channels, self.out_channels, self.stride)

    def costs(self, channels: int | None = None) -> list[float]:
        """Return the MACs of each candidate per output pixel."""
        shape = (channels,) * 2 if channels else (self.in_channels, self.out_channels)
        return [float(p.macs_per_pixel(*shape)) for p in self.candidates.values()]

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels of input and output."""
        return self.in_channels, self.out_channels

    def parameter_free(self) -> set[str]:
        """Return the names of the candidates without parameters (skip, pooling, none).

        Candidates are judged at stride 1 and with BatchNorm without scale and shift. So pooling
        followed by BatchNorm counts as parameter-free, and so does a skip connection that becomes a
        convolution at stride 2.
        """
        return {name for name, one in self.candidates.items() if self._is_parameter_free(one)}

    def _is_parameter_free(self, primitive: Primitive) -> bool:
        with torch.device("meta"):  # uses neither memory nor random numbers
            module = primitive.build(self.in_channels, self.out_channels, affine=False)
        return next(module.parameters(), None) is None


def named(name: Any, candidates: Mapping[str, Primitive], place: Place) -> Primitive:
    """Return the candidate of a name in a genotype.

    Raises:
        UserError: There is none.
    """
    if not isinstance(name, str) or name not in candidates:
        raise UserError(
            f"genotype: choices.{place}: no candidate is named {short(name)}; "
            f"{did_you_mean(name, candidates)}"
        )
    return candidates[name]
