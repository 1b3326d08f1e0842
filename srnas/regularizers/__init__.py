"""Regularizers: terms that are added to the loss of the alphas, one per module."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from srnas.choice import Supernet
from srnas.components import Registry


class Regularizer(ABC):
    """Base class of terms of the alphas' loss.

    Attributes:
        stateful: Whether the term has a state, which goes into the checkpoint; it then implements
            `state_dict` and `load_state_dict`.
    """

    stateful: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, supernet: Supernet) -> Tensor:
        """Return the term, a scalar that carries the gradient of the supernet's alphas."""

    def alphas_moved(self, supernet: Supernet) -> None:  # noqa: B027  (optional)
        """Update the state; called after every alpha step."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  (see `stateful`)
        """Continue from what `state_dict` returned."""


REGULARIZERS: Registry[Regularizer] = Registry(
    "regularizer", packages=("srnas.regularizers",), base=Regularizer
)
