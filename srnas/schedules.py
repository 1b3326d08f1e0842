"""A value as a pure function of progress in [0, 1].

In YAML a schedule is a number, or a name with its options:

    lr: 5.0e-4
    lr: {name: multistep, value: 5.0e-4, milestones: [0.2, 0.4, 0.6], factor: 0.5}
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from annotated_types import Gt, Interval, Lt

from srnas.registry import Registry

Schedule = Callable[[float], float]
SCHEDULES = Registry("schedule")

Fraction = Annotated[float, Interval(ge=0, le=1)]
WarmupFraction = Annotated[float, Interval(ge=0, lt=1)]


def build_schedule(part: float | Mapping[str, Any]) -> Schedule:
    """A number (constant) or {"name": ..., options} -> the function of progress."""
    if isinstance(part, Mapping):
        return SCHEDULES.build(part)
    return SCHEDULES["constant"](value=part)


@SCHEDULES.register("constant")
def constant(*, value: float) -> Schedule:
    """The same value throughout."""
    return lambda progress: value


@SCHEDULES.register("linear")
def linear(*, start: float, end: float, warmup: WarmupFraction = 0.0) -> Schedule:
    """start -> end in a straight line; before that, optionally, a linear rise from 0.

    `warmup` is the share of the run that the rise takes.
    """
    return _after_warmup(lambda falling: start + (end - start) * falling, start, warmup)


@SCHEDULES.register("cosine")
def cosine(*, start: float, end: float = 0.0, warmup: WarmupFraction = 0.0) -> Schedule:
    """start -> end along half a cosine; before that, optionally, a linear rise from 0.

    `warmup` is the share of the run that the rise takes.
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
    """`value`, multiplied by `factor` at each milestone (shares of the run)."""
    return lambda progress: value * factor ** sum(progress >= m for m in milestones)


@SCHEDULES.register("one_cycle")
def one_cycle(
    *,
    peak: float,
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
) -> Schedule:
    """start_factor * peak -> peak -> end_factor * peak, both along half a cosine.

    Smith & Topin, Super-convergence, 2018; the defaults are those of torch's OneCycleLR.
    """
    up = cosine(start=start_factor * peak, end=peak)
    down = cosine(start=peak, end=end_factor * peak)
    return lambda progress: (
        up(progress / rise) if progress < rise else down((progress - rise) / (1 - rise))
    )
