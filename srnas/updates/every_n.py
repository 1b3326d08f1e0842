"""First-order updates with an alpha step at every n-th weight step."""

from srnas.components import PositiveInt
from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("every_n")
class EveryN(UpdateRule):
    """Take an alpha step before the weight step at steps n, 2n, ... of each epoch.

    Args:
        n: Number of weight steps for each alpha step; 10 in CS10 of DARTS-PRIME.
    """

    def __init__(self, *, n: PositiveInt = 10) -> None:
        self.n = n

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        if alpha_moves and (stepper.step_in_epoch + 1) % self.n == 0:
            stepper.alpha_step(next(stepper.alpha_batches))
        stepper.weight_step(next(stepper.train_batches))
