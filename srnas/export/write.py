"""Exports of models, compared with PyTorch in the runtime of their format before writing."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from srnas.choice import Space
from srnas.errors import UserError, did_you_mean
from srnas.export.int8 import Budget, fit_budget, photograph_budget
from srnas.export.target import (
    EXPORT_TARGETS,
    Array,
    Content,
    ExportTarget,
    Run,
    fold_batchnorm,
    photograph,
    target_names,
)
from srnas.files import check_free, write_atomic
from srnas.model_file import Model
from srnas.tasks import task_of
from srnas.tasks.base import Ports


@dataclass(frozen=True)
class Agreement:
    """The agreement of a runtime's output with PyTorch's on a photograph.

    Attributes:
        size: Size of the input, "WxH".
        largest: Largest absolute difference.
        psnr: PSNR between both in dB, for values in [0, 1]; infinite if they are equal.
    """

    size: str
    largest: float
    psnr: float


@dataclass(frozen=True)
class Export:
    """A written export.

    Attributes:
        files: The files.
        precision: Their precision.
        agreements: How it agrees with PyTorch, at three sizes.
        notes: Lines on the use of the files.
    """

    files: list[Path]
    precision: str
    agreements: list[Agreement]
    notes: list[str]


def export(
    model: Model,
    path: Path,
    target: str | None = None,
    precision: str | None = None,
    overwrite: bool = False,
    budget: Budget | None = None,
    size: tuple[int, int] | None = None,
) -> Export:
    """Export a model, and compare the files in their own runtime with PyTorch before keeping them.

    Args:
        path: The file. With a target whose files have other suffixes, they take its name.
        target: Name of a target; by default the one that the suffix belongs to.
        precision: One of the target's precisions; by default its first.
        budget: For "int8": what it is calibrated on and may lose; by default 0.1 dB on packaged
            photographs.
        size: The only size (width, height) of its input, which then has a batch of one; by default
            it takes any.

    Raises:
        UserError: Target or precision is unknown, a file exists, a package is missing, a
            difference exceeds the limit of the precision, or no int8 version keeps the budget. In
            these cases nothing is written.
    """
    path = Path(path)
    by_suffix = target_names()
    name = target or by_suffix.get(path.suffix)
    if name is None:
        known = did_you_mean(path.suffix, by_suffix)
        raise UserError(f"--out {path}: no export for files {path.suffix!r}; {known}")
    if name not in EXPORT_TARGETS:
        raise UserError(f"--target {name}: {did_you_mean(name, EXPORT_TARGETS)}")
    chosen = EXPORT_TARGETS.build(name)
    precision = precision or next(iter(chosen.limits))
    if precision not in chosen.limits:
        raise UserError(f"--precision {precision}: {name} has {', '.join(chosen.limits)}")
    stem = path.with_suffix("") if path.suffix in chosen.suffixes else path
    files = {suffix: stem.with_name(stem.name + suffix) for suffix in chosen.suffixes}
    for file in files.values():
        check_free(file, overwrite)
    ports = task_of(model.network).ports
    content, notes = _convert(chosen, model.network, ports, precision, budget)
    sizes = ports.sizes
    if size:
        sizes = ((size[1], size[0]),)
        content = chosen.fix(content, ports, sizes[0])
    run = chosen.open(content, ports)
    agreements = [
        _compare(run, model.network, photograph(height, width)) for height, width in sizes
    ]
    worst = max(agreements, key=lambda a: math.inf if math.isnan(a.largest) else a.largest)
    if not worst.largest <= chosen.limits[precision]:
        raise UserError(
            f"{path}: not written: at {worst.size} its runtime differs from PyTorch by "
            f"{worst.largest:.2e} (allowed {chosen.limits[precision]:.0e})"
        )
    for suffix, file in files.items():
        write_atomic(file, content[suffix])
    return Export(list(files.values()), precision, agreements, [*notes, *chosen.notes(model)])


def _convert(
    target: ExportTarget, network: Space, ports: Ports, precision: str, budget: Budget | None
) -> tuple[Content, list[str]]:
    """Return the content of the files and lines about it."""
    folded = fold_batchnorm(network)
    if precision != "int8":
        return target.convert(folded, ports, precision), []
    budget = budget or photograph_budget(network, None, None, 0.1)
    return fit_budget(
        target.quantized(folded, ports, budget.images),
        lambda content, threads: target.open(content, ports, threads),
        target.convert(folded, ports, "fp32"),
        budget,
    )


@torch.no_grad()
def _compare(run: Run, network: Space, image: Array) -> Agreement:
    expected = network.eval()(torch.from_numpy(image)).numpy()
    output = run(image)
    height, width = image.shape[2:]
    if output.shape != expected.shape:
        return Agreement(f"{width}x{height}", math.inf, -math.inf)
    error = (output - expected).astype(np.float64)
    square = float((error**2).mean())
    psnr = math.inf if square == 0 else -10 * math.log10(square) if square > 0 else math.nan
    return Agreement(f"{width}x{height}", float(np.abs(error).max()), psnr)
