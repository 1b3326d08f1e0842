"""What a run will take: a few real steps are timed, and the memory that they need is read."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from srnas.machine import seconds_of
from srnas.progress import duration
from srnas.tasks import Task

LEAST = 6  # timed steps of a kind
ENOUGH = 3.0  # seconds of timed steps; more of them are not taken
MOST = 40  # steps
WARM_UP = 2  # steps before, which also choose kernels and fill memory
VALIDATED = 4  # representative images


@dataclass(frozen=True)
class Estimate:
    """An estimate.

    Attributes:
        seconds: Duration of the whole run.
        step: Seconds of one step, of the kind that most steps are.
        memory: Peak memory in bytes: of the device if it is a GPU, else of this process.
    """

    seconds: float
    step: float
    memory: int

    def __str__(self) -> str:
        memory = f"{self.memory / 1e9:.1f} GB"
        return f"about {duration(self.seconds)} here ({self.step:.3g} s a step), {memory} of memory"


def time_steps(step: Callable[[int], object], device: torch.device) -> float:
    """Return the mean seconds of a step, after a warm-up, without the slowest and fastest.

    The mean, not the median, since update rules may do different things from step to step.

    Args:
        step: Takes one step; its argument counts them from 0.
    """
    times: list[float] = []
    for number in range(WARM_UP + MOST):
        seconds = seconds_of(partial(step, number), device)
        if number >= WARM_UP:
            times.append(seconds)
        if len(times) >= LEAST and sum(times) >= ENOUGH:
            break
    return statistics.fmean(sorted(times)[1:-1])


def time_validation(task: Task, network: torch.nn.Module) -> float:
    """Return the seconds of a validation, measured on a few of many images."""
    if not task.val_count:
        return 0.0
    some = task.with_few(VALIDATED)
    seconds = seconds_of(lambda: some.validate(network), task.device)
    return task.val_count / some.val_count * seconds
