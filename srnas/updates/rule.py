"""The contract of an update rule, and what a search offers it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from srnas.choice import Supernet
from srnas.optimizers import ScheduledOptimizer


class LossOnBatch(Protocol):
    """What has a loss: a task."""

    def loss(self, network: Any, batch: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar."""


class Stepper(Protocol):
    """The steps of a search, as its update rule sees them.

    Attributes:
        task: Computes the loss of a network on a batch.
        train_batches: Batches of the weights' images.
        alpha_batches: Batches of the alphas' images.
        step_in_epoch: The number of the current step in its epoch, from 0.
    """

    supernet: Supernet
    weight_optimizer: ScheduledOptimizer
    step_in_epoch: int

    @property
    def task(self) -> LossOnBatch: ...

    @property
    def train_batches(self) -> Iterator[Any]: ...

    @property
    def alpha_batches(self) -> Iterator[Any]: ...

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """Take one step of the weight optimizer on a batch.

        Returns:
            With `measure`, the squared norm of the gradient before clipping.
        """

    def alpha_step(self, *batches: Any) -> None:
        """Take one step of the alpha optimizer on the batches' losses plus the regularizers."""

    def alpha_step_along(self, gradients: Sequence[Tensor]) -> None:
        """Take that step with the gradients of the losses given, one an alpha."""

    def joint_step(self, weight_batch: Any, alpha_batch: Any | None = None) -> None:
        """Take both steps from gradients at one point; of one pass, without a second batch."""


class UpdateRule(ABC):
    """Called once a step; `state_dict` goes into the checkpoint.

    Attributes:
        pools_images: Whether the alphas see the weights' images, so that their own images join
            the training images.
    """

    pools_images: bool = False
    remembered: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        """Take one step; during warm-up (`alpha_moves` False) only the weights move."""

    def finish(self, stepper: Stepper) -> None:  # noqa: B027  (most have nothing to finish)
        """Act after the last step, before the genotype is read off."""

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes named in `remembered`."""
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        for name in self.remembered:
            setattr(self, name, state[name])
