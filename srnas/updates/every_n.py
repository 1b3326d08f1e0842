"""A step of the alphas at every n-th step of the weights."""

from typing import Annotated

from annotated_types import Ge

from srnas.updates import UPDATES
from srnas.updates.rule import Steps, UpdateRule


@UPDATES.register("every_n")
class EveryN(UpdateRule):
    """First order; the alphas move at step n, 2n, ... of each epoch, before the weights
    (DARTS-PRIME's CS10 with n = 10)."""

    def __init__(self, *, n: Annotated[int, Ge(1)] = 10) -> None:
        self.n = n

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        if alpha_moves and (search.step_in_epoch + 1) % self.n == 0:
            search.alpha_step(next(search.alpha))
        search.weight_step(next(search.train))
