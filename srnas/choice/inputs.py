"""Inputs: several of the earlier outputs, either all weighted or the chosen ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

from torch import Tensor, nn

from srnas.choice.choice import Choice, Context, Rows
from srnas.choice.mixed_op import SharedWeights
from srnas.choice.place import Place
from srnas.errors import UserError, short


@dataclass(frozen=True)
class InputChoice(Choice):
    """Searched inputs: `keep` of `count` earlier outputs.

    A value lists their numbers, counted from 1.

    Attributes:
        place: Where it is.
        count: Number of earlier outputs.
        keep: Number of inputs that the derived network takes.
    """

    place: Place
    count: int
    keep: int
    competes: ClassVar[bool] = False

    @property
    def names(self) -> list[str]:
        """The numbers of the inputs."""
        return [str(number) for number in self._numbers]

    @property
    def _numbers(self) -> range:
        return range(1, self.count + 1)

    def alternatives(self) -> list[list[int]]:
        """Return all sets of inputs."""
        return [list(kept) for kept in combinations(self._numbers, self.keep)]

    def strongest(self, rows: Rows, threshold: float | None = None) -> list[int]:
        """Return the inputs with the largest weights, strongest first."""
        ranked = rows[self.label].sort(descending=True, stable=True).indices
        return [int(index) + 1 for index in ranked[: self.keep]]

    def encode(self, value: list[int]) -> dict[str, list[float]]:
        """Return 1 for each input that is taken."""
        return {self.label: [float(number in value) for number in self._numbers]}

    def weights(self, value: list[int]) -> dict[str, list[float]]:
        """Return 1/keep for each input that is taken; nothing if all are."""
        if self.keep == self.count:
            return {}
        return {label: [w / self.keep for w in row] for label, row in self.encode(value).items()}

    def check(self, value: Any) -> None:
        """Check that the value lists `keep` different numbers."""
        numbers = value if isinstance(value, list) else []
        valid = all(isinstance(i, int) and 1 <= i <= self.count for i in numbers)
        if not valid or len(set(numbers)) != self.keep or len(numbers) != self.keep:
            raise UserError(
                f"genotype: choices.{self.place}: {short(value)} is not {self.keep} different "
                f"numbers from 1 to {self.count}"
            )

    def relaxed(self, context: Context) -> "WeightedInputs":
        """Build a module that returns all inputs, each multiplied by its weight."""
        return WeightedInputs(context.shared, self.label, self.count)

    def derived(self, value: list[int]) -> "ChosenInputs":
        """Build a module that returns the chosen inputs, unweighted, in the genotype's order."""
        return ChosenInputs([number - 1 for number in value])


class WeightedInputs(nn.Module):
    """A link in the supernet: every input, multiplied by its weight.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the link.
        count: Number of inputs, which is also the length of the module.
    """

    def __init__(self, shared: SharedWeights, label: str, count: int) -> None:
        super().__init__()
        self.shared, self.label, self.count = shared, label, count

    def __len__(self) -> int:
        return self.count

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map the inputs to the weighted inputs, for concatenation."""
        weights = self.shared.weights[self.label].unbind()
        return [w * x for w, x in zip(weights, inputs, strict=True)]


class ChosenInputs(nn.Module):
    """A link of a derived network: the chosen inputs.

    Args:
        indices: Indices of the chosen inputs, from 0, in the order of the genotype. Their number is
            the length of the module.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Select the chosen inputs, for concatenation."""
        return [inputs[index] for index in self.indices]
