"""What a run will take: a few real steps are timed, and the memory that they need is read."""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from srnas.machine import peak_resident, wait_for
from srnas.progress import duration
from srnas.tasks import Task

LEAST = 6  # timed steps of a kind
ENOUGH = 3.0  # seconds of timed steps; more of them are not taken
MOST = 40  # steps
WARM_UP = 2  # steps before, which also choose kernels and fill memory
VALIDATED = 4  # images that stand for all


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
        device: Device that the steps run on.
    """
    times: list[float] = []
    for number in range(WARM_UP + MOST):
        wait_for(device)
        began = time.perf_counter()
        step(number)
        wait_for(device)
        if number >= WARM_UP:
            times.append(time.perf_counter() - began)
        if len(times) >= LEAST and sum(times) >= ENOUGH:
            break
    return statistics.fmean(sorted(times)[1:-1])


def time_validation(task: Task, network: torch.nn.Module) -> float:
    """Return the seconds of a validation; of many images, a few stand for all."""
    count = task.val_count
    if not count:
        return 0.0
    some: Any = copy.copy(task)
    share = 1.0
    images = getattr(task, "val", None)
    if isinstance(images, list) and count > VALIDATED:
        some.val = images[:: -(-count // VALIDATED)]
        share = count / len(some.val)
    began = time.perf_counter()
    some.validate(network)
    return share * (time.perf_counter() - began)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory so far in bytes: of the device if it is CUDA, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return round(peak_resident() * 2**20)
