"""Regularizers: terms added to the loss of the alphas, one a file."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from srnas.choice import Supernet
from srnas.registry import Registry


class Regularizer(ABC):
    """A term of the alphas' loss.

    Attributes:
        stateful: Whether it remembers something from step to step, which belongs into the
            checkpoint; it then implements `state_dict` and `load_state_dict`.
    """

    stateful: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, supernet: Supernet) -> Tensor:
        """Return the term for the supernet's alphas, a scalar that carries their gradient."""

    def alphas_moved(self, supernet: Supernet) -> None:  # noqa: B027  (most do not care)
        """React to an alpha step; called after each."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the term remembers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  (see `stateful`)
        """Continue from what `state_dict` returned."""


REGULARIZERS: Registry[Regularizer] = Registry(
    "regularizer",
    packages=("srnas.regularizers",),
    base=Regularizer,
)
