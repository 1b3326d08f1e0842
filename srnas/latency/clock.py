"""Medians of calls that take turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARMUP = 3  # rounds that are not counted


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of one call, in milliseconds.

    Attributes:
        median: Median.
        low, high: First and third quartile.
        repeats: Number of calls.
    """

    median: float
    low: float
    high: float
    repeats: int


def time_alternately(
    calls: Sequence[Callable[[], object]],
    repeats: int,
    warmup: int = WARMUP,
    after_round: Callable[[int], object] | None = None,
) -> list[Timing]:
    """Time several calls in rounds, so that a machine that slows down does so for all of them.

    Args:
        calls: The calls; every round makes each of them once, in this order.
        repeats: Number of rounds that count, at least 2.
        warmup: Number of rounds before them.
        after_round: Called with the number of rounds done, those of the warm-up included.

    Returns:
        The timing of each call.
    """
    times: list[list[float]] = [[] for _ in calls]
    for number in range(warmup + repeats):
        for call, row in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            row.append(1e3 * (time.perf_counter() - began))
        if after_round:
            after_round(number + 1)
    return [_summary(row[warmup:]) for row in times]


def _summary(times: Sequence[float]) -> Timing:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(median, low, high, len(times))
