"""The contract of an open choice, for searches, tables and reports.

A kind of choice is one file: `operation`, `inputs`, `node`, `width` and `depth`. Everybody else
loops over the choices of a space and asks them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from srnas.choice.mixed_op import MixedOpOptions, SharedWeights
from srnas.choice.place import Place
from srnas.errors import UserError, did_you_mean, short

Rows = Mapping[str, Tensor]
"""Weights (N,) of the alternatives, by label of the choice."""


class Context(Protocol):
    """Options of the modules of a supernet, see `RelaxedBuilder`."""

    @property
    def shared(self) -> SharedWeights: ...

    @property
    def partial_channels(self) -> int: ...

    @property
    def mixed(self) -> MixedOpOptions: ...

    @property
    def edge_normalization(self) -> bool: ...

    @property
    def node_norm(self) -> bool: ...

    def add(self, choice: "Choice") -> Any:
        """Register a choice and return its module."""


class Choice(ABC):
    """An open choice of a network. Modules that ask for the same place share it.

    Attributes:
        place: Where it is.
        competes: Whether the relaxation of the search weighs its alternatives, and methods may drop
            some. The rows of other choices are relaxed by softmax.
        adds_up: Whether the costs of networks add up over such choices.
    """

    place: Place
    competes: ClassVar[bool] = True
    adds_up: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The place as it is written in checkpoints, logs and genotypes."""
        return str(self.place)

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Name of each alternative that has a logit, in the order of the logits."""

    @abstractmethod
    def alternatives(self) -> list[Any]:
        """Return all values that a genotype may have here."""

    @abstractmethod
    def strongest(self, rows: Rows, threshold: float | None = None) -> Any:
        """Return the value with the largest weights; among equal ones, the first.

        Args:
            rows: Weights by label, of this choice and of those that it is made of.
            threshold: Minimum weight of an edge, see `NodeChoice`.
        """

    @abstractmethod
    def encode(self, value: Any) -> dict[str, list[float]]:
        """Return 0 or 1 for each alternative with a logit, by label."""

    @abstractmethod
    def check(self, value: Any) -> None:
        """Check a value from outside.

        Raises:
            UserError: The value is not among the alternatives.
        """

    @abstractmethod
    def relaxed(self, context: Context) -> Any:
        """Build the module of the supernet, which weighs the alternatives."""

    @abstractmethod
    def derived(self, value: Any) -> Any:
        """Build the module of a derived network, which has one value."""

    def agrees(self, other: "Choice") -> bool:
        """Return whether another request for this place leaves the same choice."""
        return self == other

    def parts(self) -> list["Choice"]:
        """Return the choices that it is made of."""
        return []

    def has_row(self, context: Context) -> bool:
        """Return whether it has a row of logits of its own."""
        return True

    def weights(self, value: Any) -> dict[str, list[float]]:
        """Return a value as weights by label, for `OpenChoices.project`."""
        return self.encode(value)

    def chosen(self, value: Any) -> dict[str, str]:
        """Return the names of the chosen alternatives that compete, by label."""
        return {}

    def costs(self, channels: int | None = None) -> list[float]:
        """Return the cost of each alternative, in MACs per pixel if nothing else is known.

        Args:
            channels: Number of channels to count operations with, in place of the actual ones.
        """
        return [0.0] * len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """The channels of input and output on which times of the alternatives depend, if any."""
        return ()

    def parameter_free(self) -> set[str] | None:
        """Return the names of the alternatives without parameters; None if there are never any."""
        return None


class OneOf(Choice):
    """Base class of choices of one alternative out of several."""

    @abstractmethod
    def alternatives(self) -> list[Any]:
        """Return all values, in the order of the logits."""

    @property
    def names(self) -> list[str]:
        """Name of each alternative, in the order of the logits."""
        return [str(value) for value in self.alternatives()]

    def strongest(self, rows: Rows, threshold: float | None = None) -> Any:
        """Return the value with the largest weight."""
        return self.alternatives()[int(rows[self.label].argmax())]

    def encode(self, value: Any) -> dict[str, list[float]]:
        """Return 1 for the value and 0 for the others."""
        return {self.label: [float(value == one) for one in self.alternatives()]}

    def check(self, value: Any) -> None:
        """Check that the value is one of the alternatives, and of its type."""
        known = self.alternatives()
        if not any(type(value) is type(one) and value == one for one in known):
            raise wrong_value(self.place, value, known)

    def chosen(self, value: Any) -> dict[str, str]:
        """Return the name of the value."""
        return {self.label: str(value)}


def wrong_value(place: Place, value: Any, known: Sequence[Any]) -> UserError:
    """Return the error that a genotype has another value than the known ones."""
    return UserError(
        f"genotype: choices.{place}: no alternative is {short(value)}; "
        f"{did_you_mean(value, map(str, known))}"
    )
