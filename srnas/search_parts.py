"""Options of parts of a search: its stages, and how networks are drawn."""

from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Interval, Len

from srnas.components import PositiveInt, Strict


class ShrinkOptions(Strict):
    """A stage of the search that begins by keeping only the strongest candidates of each position.

    Attributes:
        at: When it begins, as a fraction of the epochs.
        keep: Number of candidates that stay.
        partial_channels: K from then on. If it differs, wider candidates are built, whose weights
            repeat the previous ones.
        warmup: For how long the alphas then stay fixed, as a fraction of the epochs.
    """

    at: Annotated[float, Interval(gt=0, lt=1)]
    keep: PositiveInt
    partial_channels: PositiveInt | None = None
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0


class SampledOptions(Strict):
    """A search that trains networks by themselves, drawn by Thompson sampling.

    Its epochs are networks, `steps_per_epoch` the steps of each, with `weight_optimizer`.

    Attributes:
        random: Number of random networks at the beginning.
        at_once: Number of networks that are trained at once, in processes of their own. They are
            drawn from the same posterior, so the result depends on it.
        ratio: Prior variance of what an alternative adds to the score, as a multiple of the
            variance of the noise of a training.
        ema: Decay of the moving average of the weights; 0 for none.
        until: The search stops when the best network is expected to be better by less than this,
            in units of the score.
        minutes: The search stops after the training that ends later than this.
        most: Largest cost; or the smallest and the largest one, for a front.
        latency: File of `srnas latency table`, for costs in milliseconds; without one, costs are
            MACs per pixel of the searched parts.
    """

    random: Annotated[int, Interval(ge=2, le=10_000)] = 6
    at_once: Annotated[int, Interval(ge=1, le=256)] = 1
    ratio: Annotated[float, Gt(0)] = 0.67
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    until: Annotated[float, Gt(0)] | None = None
    minutes: Annotated[float, Gt(0)] | None = None
    most: Annotated[list[Annotated[float, Gt(0)]], Len(1, 2)] | None = None
    latency: Path | None = None
