"""The contract of an update rule, and the interface of a search that it acts on."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from srnas.choice import Supernet
from srnas.errors import short
from srnas.optimizers import ScheduledOptimizer
from srnas.tasks.base import Task


class Stepper(Protocol):
    """The interface through which an update rule acts on a search.

    Attributes:
        supernet: The supernet.
        weight_optimizer: Optimizer of the weights.
        step_in_epoch: Number of the current step within its epoch, from 0.
        task: Computes the loss of a network on a batch.
        train_batches: Batches of the weights' images.
        alpha_batches: Batches of the alphas' images.
    """

    supernet: Supernet
    weight_optimizer: ScheduledOptimizer
    step_in_epoch: int

    @property
    def task(self) -> Task: ...

    @property
    def train_batches(self) -> Iterator[Any]: ...

    @property
    def alpha_batches(self) -> Iterator[Any]: ...

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """Take one step of the weight optimizer on a batch.

        Args:
            batch: Batch of the loss.
            measure: Whether to compute the squared norm of the gradient.

        Returns:
            With `measure`, the squared norm of the gradient before clipping; otherwise None.
        """

    def alpha_step(self, *batches: Any) -> None:
        """Take one step of the alpha optimizer on the summed losses and weighted regularizers."""

    def alpha_step_along(self, gradients: Sequence[Tensor]) -> None:
        """Take one step of the alpha optimizer with given gradients of the loss.

        Args:
            gradients: One for each parameter of `Supernet.arch_parameters`. Those of the
                regularizers are added.
        """

    def joint_step(self, weight_batch: Any, alpha_batch: Any | None = None) -> None:
        """Take one step of both optimizers, with gradients at the same point.

        Args:
            weight_batch: Batch of the weights' loss.
            alpha_batch: Batch of the alphas' loss; if None, a single pass gives both gradients.
        """


class UpdateRule(ABC):
    """Base class of update rules; the search calls the rule once per step.

    Attributes:
        pools_images: Whether the training batches are drawn from all images, those of the alphas
            included, because the alphas also learn from them.
        differentiates_twice: Whether the rule differentiates gradients of the supernet.
        joint: Whether it takes joint steps, which have no place for a perturbation.
        remembered: Names of the attributes that go into the checkpoint.
    """

    pools_images: bool = False
    differentiates_twice: bool = False
    joint: ClassVar[bool] = False
    remembered: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        """Take one step of the search.

        Args:
            stepper: The search.
            alpha_moves: Whether the alphas may move. If not (during warm-up), a rule takes weight
                steps only.
        """

    def finish(self, stepper: Stepper) -> None:  # noqa: B027  (optional)
        """Act after the last step, before the genotype is derived."""

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes named in `remembered`."""
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: A value is no finite number (or None, where that is possible).
        """
        for name in self.remembered:
            value, now = state[name], getattr(self, name)
            number = type(value) in (int, float) and math.isfinite(value)
            if not number and not (value is None and now is None):
                raise ValueError(f"{name} of the update rule is {short(value)}")
            setattr(self, name, value)
