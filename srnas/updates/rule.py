"""What an update rule is, and what a search offers it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from srnas.choice import Supernet


class Steps(Protocol):
    """A search, as its update rule sees it."""

    supernet: Supernet
    task: Any  # loss(network, batch) -> scalar
    train: Iterator[Any]
    alpha: Iterator[Any]
    step_in_epoch: int
    weight_optimizer: torch.optim.Optimizer

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """One step of the weight optimizer on a batch; if asked, the squared norm of its
        gradient before clipping."""

    def alpha_step(self, *batches: Any) -> None:
        """One step of the alpha optimizer on the summed losses of the batches + regularizers."""

    def alpha_step_along(self, gradients: list[Tensor]) -> None:
        """The same with the losses' gradients given, one an alpha."""

    def joint_step(self, weight_batch: Any, alpha_batch: Any | None = None) -> None:
        """Both optimizers step from gradients at one point; of one pass, without a second
        batch."""


class UpdateRule(ABC):
    """Called once a step; `state_dict` goes into the checkpoint.

    pools_images: whether the alphas see the weights' images, so that their own join the pool.
    """

    pools_images = False

    @abstractmethod
    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        """One step; during warm-up (`alpha_moves` False) only the weights move."""

    def finish(self, search: Steps) -> None:  # noqa: B027  (most have nothing to finish)
        """After the last step, before the genotype is read off."""

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers from step to step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.__dict__.update(state)
