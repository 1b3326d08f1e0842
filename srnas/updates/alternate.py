"""Alternating first-order updates: one weight step, one alpha step (DARTS Sec. 2.3, DLSR)."""

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from srnas.updates import UPDATES


class Steps(Protocol):
    """What a search offers to its update rule."""

    train: Iterator[Any]
    alpha: Iterator[Any]

    def weight_step(self, batch: Any) -> None:
        """One step of the weight optimizer on a batch."""

    def alpha_step(self, *batches: Any) -> None:
        """One step of the alpha optimizer on the summed losses of the batches + regularizers."""


@UPDATES.register("alternate")
class Alternate:
    """A weight step on a training batch and an alpha step, at every iteration.

    order: "weights_first" (DLSR) or "alpha_first" (DARTS).
    objective: "val_only": the alphas see a batch of their own images (DARTS, first order);
        "mixed": they see it and the training batch, losses added (DLSR's released code).
    """

    def __init__(
        self,
        *,
        order: Literal["weights_first", "alpha_first"] = "weights_first",
        objective: Literal["mixed", "val_only"] = "mixed",
    ) -> None:
        self.order = order
        self.objective = objective

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        """One iteration; during warm-up (`alpha_moves` False) only the weights step."""
        train_batch = next(search.train)
        if alpha_moves and self.order == "alpha_first":
            self._alpha_step(search, train_batch)
        search.weight_step(train_batch)
        if alpha_moves and self.order == "weights_first":
            self._alpha_step(search, train_batch)

    def _alpha_step(self, search: Steps, train_batch: Any) -> None:
        batches = [next(search.alpha)]
        if self.objective == "mixed":
            batches.append(train_batch)
        search.alpha_step(*batches)
