"""Alpha steps at every n-th weight step."""

from typing import Annotated

from annotated_types import Ge

from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("every_n")
class EveryN(UpdateRule):
    """First order; the alphas move at step n, 2n, ... of each epoch, before the weights.

    DARTS-PRIME's CS10 has n = 10.
    """

    def __init__(self, *, n: Annotated[int, Ge(1)] = 10) -> None:
        self.n = n

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        if alpha_moves and (stepper.step_in_epoch + 1) % self.n == 0:
            stepper.alpha_step(next(stepper.alpha_batches))
        stepper.weight_step(next(stepper.train_batches))
