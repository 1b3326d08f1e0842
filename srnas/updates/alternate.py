"""Alternating first-order updates: one weight step, one alpha step (DARTS, Sec. 2.3; DLSR)."""

from typing import Any, Literal

from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("alternate")
class Alternate(UpdateRule):
    """Take a weight step on a training batch, and an alpha step, at every iteration.

    Args:
        order: "weights_first" (DLSR) or "alpha_first" (DARTS).
        objective: "val_only" uses a batch of the alphas' own images for the alpha step (DARTS,
            first order). "mixed" adds the loss on the training batch (DLSR's released code).
    """

    def __init__(
        self,
        *,
        order: Literal["weights_first", "alpha_first"] = "weights_first",
        objective: Literal["mixed", "val_only"] = "mixed",
    ) -> None:
        self.order = order
        self.objective = objective

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        train_batch = next(stepper.train_batches)
        if alpha_moves and self.order == "alpha_first":
            self._alpha_step(stepper, train_batch)
        stepper.weight_step(train_batch)
        if alpha_moves and self.order == "weights_first":
            self._alpha_step(stepper, train_batch)

    def _alpha_step(self, stepper: Stepper, train_batch: Any) -> None:
        batches = [next(stepper.alpha_batches)]
        if self.objective == "mixed":
            batches.append(train_batch)
        stepper.alpha_step(*batches)
