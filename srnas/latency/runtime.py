"""Networks in the runtimes of their exports."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from srnas.errors import UserError, did_you_mean
from srnas.export.target import EXPORT_TARGETS, Content, fold_batchnorm, photograph
from srnas.machine import CPU, peak_memory
from srnas.tasks import task_of
from srnas.tasks.base import Ports


def runtimes() -> dict[str, str]:
    """Return the names of the export targets by those of their runtimes."""
    return {EXPORT_TARGETS.build(name).runtime or name: name for name in EXPORT_TARGETS}


@dataclass(frozen=True)
class Opened:
    """A network that is ready to run.

    Attributes:
        call: Runs it once on a fixed image.
        content: Files of the export.
        target: Name of the export target.
        ports: Its input and output.
        size: Size (width, height) of the image.
        threads: Number of threads.
    """

    call: Callable[[], object]
    content: Content
    target: str
    ports: Ports
    size: tuple[int, int]
    threads: int


def open_network(
    network: nn.Module,
    runtime: str,
    size: tuple[int, int],
    threads: int = 1,
    precision: str | None = None,
) -> Opened:
    """Export a network and open it in a runtime, with an image of noise as its input.

    Args:
        network: The network; its weights do not matter for the time.
        size: Size (width, height) of the input in pixels.
        threads: Number of threads, at least 1.
        precision: Precision of the export; by default fp32.

    Raises:
        UserError: The runtime is unknown or not installed, or it cannot express the network.
    """
    known = runtimes()
    if runtime not in known:
        raise UserError(f"--runtime {runtime}: {did_you_mean(runtime, known)}")
    name = known[runtime]
    target = EXPORT_TARGETS.build(name)
    precision = precision or "fp32"
    if precision not in target.limits:
        raise UserError(f"--precision {precision}: {name} has {', '.join(target.limits)}")
    ports = task_of(network).ports  # type: ignore[arg-type]
    folded = fold_batchnorm(network)
    if precision == "int8":  # the fastest recipe; what it loses does not matter for the time
        _, content = next(target.quantized(folded, ports, [photograph(48, 48)]))
    else:
        content = target.convert(folded, ports, precision)
    return Opened(_caller(content, name, ports, size, threads), content, name, ports, size, threads)


def memory_of(opened: Opened) -> int:
    """Return by how many bytes a fresh process grows until it has opened and run a network."""
    context = multiprocessing.get_context("spawn")
    given = (opened.content, opened.target, opened.ports, opened.size, opened.threads)
    with context.Pool(1) as pool:
        return pool.apply(_growth, given)


def _growth(
    content: Content, target: str, ports: Ports, size: tuple[int, int], threads: int
) -> int:
    before = peak_memory(CPU)
    _caller(content, target, ports, size, threads)()
    return peak_memory(CPU) - before


def _caller(
    content: Content, target: str, ports: Ports, size: tuple[int, int], threads: int
) -> Callable[[], object]:
    width, height = size
    image = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    run = EXPORT_TARGETS.build(target).open(content, ports, threads)
    return lambda: run(image)
