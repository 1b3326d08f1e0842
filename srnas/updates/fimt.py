"""FIMT: the alphas move when the weights have settled (DARTS-PRIME)."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from srnas.updates import UPDATES
from srnas.updates.rule import Steps, UpdateRule


@UPDATES.register("fimt")
class FIMT(UpdateRule):
    """Fisher-information-metric threshold: an alpha step when F < h, then h is lowered;
    otherwise h grows. The weights move at every step.

    F is a moving average of the squared norm of the weights' gradient (the trace of the
    empirical Fisher information of a batch), before clipping; `smoothing` weighs the new value.

    threshold: h at the start. growth: its factor at a step without the alphas. ratio: of weight
    steps to alpha steps in the long run, by the factor growth^-ratio at an alpha step. As the
    weights move at those steps too, the published factor gives ratio + 1; corrected=True lowers
    h by growth^-(ratio - 1) and gives just `ratio`.
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Gt(0)] = 1.0,
        growth: Annotated[float, Gt(1)] = 1.05,
        ratio: Annotated[int, Ge(1)] = 10,
        smoothing: Annotated[float, Interval(gt=0, le=1)] = 0.2,
        corrected: bool = False,
    ) -> None:
        self.threshold = threshold
        self.growth = growth
        self.decay = growth ** -(ratio - 1 if corrected else ratio)
        self.smoothing = smoothing
        self.fisher: float | None = None

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        if alpha_moves:
            if self.fisher is not None and self.fisher < self.threshold:
                search.alpha_step(next(search.alpha))
                self.threshold *= self.decay
            else:
                self.threshold *= self.growth
        norm = search.weight_step(next(search.train), measure=True)
        last = norm if self.fisher is None else self.fisher
        self.fisher = self.smoothing * norm + (1 - self.smoothing) * last

    def state_dict(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "fisher": self.fisher}
