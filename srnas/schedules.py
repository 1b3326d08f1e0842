"""Schedules: values that are pure functions of the progress of a run, from 0 to 1.

In YAML a schedule is a number, or a name with its options:

    lr: 5.0e-4
    lr: {name: multistep, value: 5.0e-4, milestones: [0.2, 0.4, 0.6], factor: 0.5}
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import Gt, Interval, Lt, MinLen

from srnas.components import Component, ComponentOf, Registry
from srnas.errors import UserError

Schedule = Callable[[float], float]
SCHEDULES: Registry[Schedule] = Registry("schedule")
ScheduleOption = Annotated[Component[Schedule], ComponentOf(SCHEDULES, number_is="constant")]
Update = Literal["step", "epoch"]
"""Whether a scheduled value changes at every step, or only at the first step of an epoch."""

Fraction = Annotated[float, Interval(ge=0, le=1)]
WarmupFraction = Annotated[float, Interval(ge=0, lt=1)]


@SCHEDULES.register("constant")
def constant(*, value: float) -> Schedule:
    """Keep the same value throughout.

    Args:
        value: The value.

    >>> schedule = constant(value=0.1)
    >>> schedule(0.0), schedule(1.0)
    (0.1, 0.1)
    """
    return lambda progress: value


@SCHEDULES.register("linear")
def linear(*, start: float, end: float, warmup: WarmupFraction = 0.0) -> Schedule:
    """Go from `start` to `end` in a straight line, optionally after a linear warmup from 0.

    Args:
        start: The value at the beginning, or at the end of the warmup.
        end: The value at the end of the run.
        warmup: The fraction of the run during which the value rises from 0 to `start`.

    >>> schedule = linear(start=1.0, end=0.0, warmup=0.5)
    >>> [schedule(progress) for progress in (0, 0.25, 0.5, 0.75, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    return _after_warmup(lambda falling: start + (end - start) * falling, start, warmup)


@SCHEDULES.register("cosine")
def cosine(*, start: float, end: float = 0.0, warmup: WarmupFraction = 0.0) -> Schedule:
    """Go from `start` to `end` along half a cosine, optionally after a linear warmup from 0.

    Args:
        start: The value at the beginning, or at the end of the warmup.
        end: The value at the end of the run.
        warmup: The fraction of the run during which the value rises from 0 to `start`.

    >>> schedule = cosine(start=1.0)
    >>> [round(schedule(progress), 3) for progress in (0, 0.25, 0.5, 1)]
    [1.0, 0.854, 0.5, 0.0]
    """

    def value(falling: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * falling)) / 2

    return _after_warmup(value, start, warmup)


def _after_warmup(value: Schedule, start: float, warmup: float) -> Schedule:
    return lambda progress: (
        start * progress / warmup
        if progress < warmup
        else value((progress - warmup) / (1 - warmup))
    )


@SCHEDULES.register("multistep")
def multistep(*, value: float, milestones: list[Fraction], factor: float = 0.5) -> Schedule:
    """Start at `value` and multiply it by `factor` at each milestone.

    Args:
        value: The value before the first milestone.
        milestones: Fractions of the run, in any order.
        factor: The factor applied at each milestone.

    >>> schedule = multistep(value=8.0, milestones=[0.25, 0.5])
    >>> [schedule(progress) for progress in (0, 0.25, 0.5, 1)]
    [8.0, 4.0, 2.0, 2.0]
    """
    return lambda progress: value * factor ** sum(progress >= m for m in milestones)


@SCHEDULES.register("one_cycle")
def one_cycle(
    *,
    peak: float,
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
) -> Schedule:
    """Rise to `peak` and fall from it again, both along half a cosine.

    The policy is that of Smith & Topin, Super-convergence, 2018; the defaults are those of
    torch's `OneCycleLR`.

    Args:
        peak: The largest value.
        rise: The fraction of the run after which the peak is reached.
        start_factor: The value at the beginning, as a multiple of `peak`.
        end_factor: The value at the end, as a multiple of `peak`.

    >>> schedule = one_cycle(peak=1.0)
    >>> [round(schedule(progress), 3) for progress in (0, 0.15, 0.3, 0.65, 1)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    up = cosine(start=start_factor * peak, end=peak)
    down = cosine(start=peak, end=end_factor * peak)
    return lambda progress: (
        up(progress / rise) if progress < rise else down((progress - rise) / (1 - rise))
    )


@SCHEDULES.register("piecewise")
def piecewise(
    *,
    points: Annotated[list[tuple[Fraction, float]], MinLen(1)],
    then: ScheduleOption | None = None,
) -> Schedule:
    """Connect points by straight lines, and optionally follow another schedule after the last one.

    Args:
        points: Pairs of a fraction of the run and the value there, in order. Before the first
            point the value is the first one, after the last point the last one.
        then: Schedule after the last point. Its progress is that of the run; it does not start
            anew at the point.

    Raises:
        UserError: The fractions do not increase.

    >>> schedule = piecewise(points=[(0, 0.0), (0.5, 2.0)])
    >>> [schedule(progress) for progress in (0, 0.25, 0.5, 1)]
    [0.0, 1.0, 2.0, 2.0]
    """
    at = [fraction for fraction, _ in points]
    if any(later <= earlier for earlier, later in pairwise(at)):
        raise UserError(f"piecewise: the fractions {at} must increase")
    after = then.build() if then else constant(value=points[-1][1])

    def value(progress: float) -> float:
        for (x0, y0), (x1, y1) in pairwise(points):
            if progress < x1:
                return y0 + (y1 - y0) * max(0.0, progress - x0) / (x1 - x0)
        return points[-1][1] if progress <= at[-1] else after(progress)

    return value
