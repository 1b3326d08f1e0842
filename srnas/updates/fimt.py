"""FIMT: the alphas move when the weights have settled (DARTS-PRIME)."""

from typing import Annotated

from annotated_types import Gt, Interval

from srnas.components import PositiveInt
from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("fimt")
class FIMT(UpdateRule):
    """Fisher information metric threshold: an alpha step if F < h, which lowers h; else h grows.

    The weights move at every step. F is a moving average of the squared norm of the weights'
    gradient before clipping, which is the trace of the empirical Fisher information of a batch.

    Args:
        threshold: Initial value of h.
        growth: Factor of h at a step without an alpha step.
        ratio: Number of weight steps for each alpha step in the long run. It sets the factor of h
            at an alpha step, growth^-ratio. Because the weights also move at these steps, this
            published factor actually leads to ratio + 1.
        smoothing: Weight of the new value in the moving average.
        corrected: Whether to use the factor growth^-(ratio - 1) instead, which leads to exactly
            `ratio`.
    """

    remembered = ("threshold", "fisher")

    def __init__(
        self,
        *,
        threshold: Annotated[float, Gt(0)] = 1.0,
        growth: Annotated[float, Gt(1)] = 1.05,
        ratio: PositiveInt = 10,
        smoothing: Annotated[float, Interval(gt=0, le=1)] = 0.2,
        corrected: bool = False,
    ) -> None:
        self.threshold = threshold
        self.growth = growth
        self.decay = growth ** -(ratio - 1 if corrected else ratio)
        self.smoothing = smoothing
        self.fisher: float | None = None

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        if alpha_moves:
            if self.fisher is not None and self.fisher < self.threshold:
                stepper.alpha_step(next(stepper.alpha_batches))
                self.threshold *= self.decay
            else:
                self.threshold *= self.growth
        norm = stepper.weight_step(next(stepper.train_batches), measure=True)
        assert norm is not None
        last = norm if self.fisher is None else self.fisher
        self.fisher = self.smoothing * norm + (1 - self.smoothing) * last
