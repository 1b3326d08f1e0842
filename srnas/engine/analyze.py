"""Measurements on a search, finished or running, from the logs and checkpoint in its run folder.

The run's own files are only read, so an analysis does not affect a running search.
"""

import io
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch

from srnas.analysis import (
    Correlation,
    Substitution,
    convergence,
    edge_gradient_correlations,
    landscape,
    operator_gradients,
    substitute,
    weight_gradient_correlation,
)
from srnas.analysis.landscape import draw_landscape
from srnas.analysis.logs import read_alphas, read_metrics
from srnas.choice import Genotype
from srnas.distributed import Process, choose_device
from srnas.engine.checkpoint import load_checkpoint
from srnas.engine.checkpoint import restore as restore_checkpoint
from srnas.engine.run import CHECKPOINT
from srnas.engine.stepper import SearchStepper
from srnas.errors import UserError, did_you_mean
from srnas.files import read_json, read_yaml, write_atomic, write_json
from srnas.options import SearchOptions, check_options
from srnas.progress import Progress
from srnas.score_table import open_table
from srnas.spaces import space_class

FOLDER = "analysis"
LANDSCAPES: dict[str, Literal["filter", "tensor"]] = {"weights": "filter", "alphas": "tensor"}
"""Normalization of the random directions, by the parameters that are moved."""
BatchPairs = Sequence[tuple[Any, Any]]
"""Pairs of a batch of the weights' images and a batch of the alphas' images."""


def analyze(
    run_dir: Path,
    *,
    gradients: bool = False,
    landscape_of: str | None = None,
    points: int = 21,
    span: float = 1.0,
    batches: int = 4,
    substitution: str | None = None,
    table: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a search.

    The results are merged into RUN_DIR/analysis/analysis.json, which keeps the sections of earlier
    calls. A landscape is also written as PNG and NPZ.

    Args:
        gradients: Whether to measure `gradient_figures`.
        landscape_of: "weights" or "alphas", to evaluate the loss on a grid around them.
        points: Number of grid points along each axis, at least 2.
        span: Extent of the grid, from -span to span along each axis.
        batches: Number of batches of each split for gradients and landscape. They are those that
            would follow the checkpoint.
        substitution: Label of an edge, to score the genotype with each of its candidates.
        table: File of the tabular benchmark that gives these scores.

    Returns:
        Results by section ("trajectory", and "substitution", "gradients" and "landscape_weights" or
        "landscape_alphas" on request), each with the "step" that it belongs to.

    Raises:
        UserError: The folder is not one of a search, or an argument does not fit.
    """
    if landscape_of not in (None, *LANDSCAPES):
        raise UserError(f"--landscape {landscape_of}: {did_you_mean(landscape_of, LANDSCAPES)}")
    if not (2 <= points <= 1000 and 0 < span < float("inf") and 1 <= batches <= 10_000):
        raise UserError("--points is 2 to 1,000, --batches 1 to 10,000, and --span above 0")
    run_dir = Path(run_dir)
    options, rows = _open(run_dir)
    metrics = read_metrics(run_dir / "metrics.jsonl")
    result: dict[str, Any] = {"trajectory": trajectory(options, rows, metrics)}
    if substitution:
        space = options.space.name
        result["substitution"] = substitutions(space, rows[-1], substitution, table)
    if gradients or landscape_of:
        step, stepper = restore(run_dir, options, device)
        drawn = [(next(stepper.train_batches), next(stepper.alpha_batches)) for _ in range(batches)]
    if gradients:
        result["gradients"] = {"step": step, **gradient_figures(stepper, drawn)}
    if landscape_of:
        folder = run_dir / FOLDER
        figures = write_landscape(folder, stepper, drawn, landscape_of, points, span)
        result[f"landscape_{landscape_of}"] = {"step": step, **figures}
    file = run_dir / FOLDER / "analysis.json"
    write_json(file, {**(read_json(file) if file.exists() else {}), **result})
    return result


def trajectory(
    options: SearchOptions, rows: Sequence[dict[str, Any]], metrics: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Summarize the logs of a search, the rows of alphas.jsonl and of metrics.jsonl.

    Returns:
        The step, the epochs so far and planned, the last genotype, and:

        - convergence_epoch (from 0) and converged: See `convergence`.
        - converge_share: Fraction of the epochs so far that were needed to converge (converge/total
          cost in SA-DARTS).
        - figures: First, last, minimum and maximum over the epochs, of each figure logged with the
          alphas (`summarize`, and the accuracies of a tabular benchmark) and of the expected MACs.
    """
    settled, converged = convergence(rows)
    logged = [row for row in metrics if "top2_gap_min" in row]
    names = [name for name in (logged[-1] if logged else ()) if name not in ("step", "epoch")]
    curves = {name: [row[name] for row in logged if name in row] for name in names}
    macs = "expected_macs_per_pixel"
    curves |= {macs: [row[macs] for row in rows]} if macs in rows[-1] else {}
    return {
        "step": rows[-1]["step"],
        "epochs": rows[-1]["epoch"] + 1,
        "epochs_planned": options.epochs,
        "convergence_epoch": settled,
        "converged": converged,
        "converge_share": (settled + 1) / (rows[-1]["epoch"] + 1),
        "genotype": rows[-1]["genotype"],
        "figures": {
            name: {"first": curve[0], "last": curve[-1], "min": min(curve), "max": max(curve)}
            for name, curve in curves.items()
        },
    }


def substitutions(
    space: str, row: dict[str, Any], label: str, table: Path | None
) -> dict[str, Any]:
    """Score the genotype of one epoch (a row of alphas.jsonl) with each candidate at one edge.

    Args:
        table: File of the space's tabular benchmark.

    Returns:
        The candidates, their alphas, their accuracies by data set, and Kendall's tau by data set
        (None where it is undefined), see `substitute`.

    Raises:
        UserError: The space has no table, the table is not given, or there is no such edge.
    """
    given = table is not None and table.is_file()
    if not given and not space_class(space).has_table():
        raise UserError(
            f"--substitution: name a table of space {space!r} by --table (srnas table makes them); "
            "from Python, srnas.analysis.substitute takes any score of a genotype"
        )
    if label not in row["candidates"]:
        raise UserError(f"--substitution {label}: {did_you_mean(label, row['candidates'])}")
    if table is None:
        raise UserError("--substitution: name the table of the benchmark by --table")
    genotype = Genotype(space, row["genotype"])
    score = open_table(space, table)

    def probe(dataset: str) -> Substitution:
        candidates, alphas = row["candidates"][label], row["alphas"][label]
        return substitute(genotype, label, candidates, alphas, lambda g: score(g)[dataset])

    probes = {dataset: probe(dataset) for dataset in score(genotype)}
    first = next(iter(probes.values()))
    return {
        "step": row["step"],
        "label": label,
        "candidates": first.candidates,
        "alphas": first.alphas,
        "accuracy": {dataset: one.scores for dataset, one in probes.items()},
        "tau": {d: None if np.isnan(p.tau) else p.tau for d, p in probes.items()},
    }


def restore(run_dir: Path, options: SearchOptions, device: str) -> tuple[int, SearchStepper]:
    """Restore a search from its checkpoint.

    Returns:
        The step of the checkpoint, and the stepper as it was after this step.

    Raises:
        UserError: There is no checkpoint yet.
    """
    file = run_dir / CHECKPOINT
    if not file.is_file():
        raise UserError(f"{run_dir}: no checkpoint yet; wait for its first one")
    saved = load_checkpoint(file)
    stepper = SearchStepper(options, Process(choose_device(device)))
    stepper.shrink_as_before(saved["step"])
    restore_checkpoint(saved, stepper.states, file)
    stepper.set_epoch((saved["step"] - 1) // options.steps_per_epoch)
    return saved["step"], stepper


def gradient_figures(stepper: SearchStepper, drawn: BatchPairs) -> dict[str, Any]:
    """Measure gradients of the supernet in training mode, averaged over pairs of batches.

    Returns:
        - batches: Number of pairs.
        - weights: `weight_gradient_correlation` of the two batches of a pair.
        - edges: `edge_gradient_correlations` of the two batches, by mixed operation.
        - operators: `operator_gradients` on the alphas' batch, over all mixed operations ("all")
          and over those of the last cell, as in Single-DARTS.
    """
    supernet = stepper.supernet.train()
    weights: list[Correlation] = []
    edges: list[dict[str, Correlation]] = []
    operators: list[dict[str, dict[str, float]]] = []
    with Progress(len(drawn)) as progress:
        for done, (train, alpha) in enumerate(drawn, 1):
            pair = partial(stepper.loss, train), partial(stepper.loss, alpha)
            weights.append(weight_gradient_correlation(supernet, *pair))
            edges.append(edge_gradient_correlations(supernet, *pair))
            places = {"all": "", **_last_cell(list(edges[0]))}
            operators.append(
                {name: operator_gradients(supernet, pair[1], at) for name, at in places.items()}
            )
            progress.advance(done)
            progress.say("gradients")
    return {
        "batches": len(drawn),
        "weights": _mean(weights),
        "edges": {name: _mean([one[name] for one in edges]) for name in edges[0]},
        "operators": {
            place: {name: fmean(one[place][name] for one in operators) for name in row}
            for place, row in operators[0].items()
        },
    }


def write_landscape(
    folder: Path, stepper: SearchStepper, drawn: BatchPairs, of: str, points: int, span: float
) -> dict[str, Any]:
    """Write landscape_{of}.npz (positions, loss) and landscape_{of}.png.

    The loss is the mean over the alphas' batches, in evaluation mode. The directions are drawn with
    the seed of the run.

    Args:
        of: Parameters that are moved, "weights" or "alphas".
        span: Extent of the grid, from -span to span.

    Returns:
        The settings of the grid, the loss at the checkpoint, the minimum and maximum of the finite
        losses on the grid, and the names of the files.
    """
    supernet = stepper.supernet.eval()
    parameters = supernet.weight_parameters() if of == "weights" else supernet.arch_parameters()

    def loss() -> float:
        return fmean(float(stepper.loss(alpha)) for _, alpha in drawn)

    with torch.no_grad():
        here = loss()
    with Progress(points**2) as progress:

        def watched() -> float:
            value = loss()
            progress.advance(progress.step + 1)
            if progress.step % points == 0:
                progress.say(f"loss {value:.4g}")
            return value

        generator = torch.Generator().manual_seed(stepper.options.seed)
        grid = landscape(watched, parameters, generator, LANDSCAPES[of], span, points)
    values = grid.values["loss"]
    finite = values[np.isfinite(values)]
    arrays = io.BytesIO()
    np.savez(arrays, positions=grid.positions, loss=values)
    write_atomic(folder / f"landscape_{of}.npz", arrays.getvalue())
    write_atomic(folder / f"landscape_{of}.png", draw_landscape(grid.positions, values, of))
    return {
        "points": points,
        "span": span,
        "batches": len(drawn),
        "seed": stepper.options.seed,
        "loss": here,
        "min": float(finite.min()),
        "max": float(finite.max()),
        "files": [f"landscape_{of}.npz", f"landscape_{of}.png"],
    }


def _open(run_dir: Path) -> tuple[SearchOptions, list[dict[str, Any]]]:
    """Return the options of a search and its rows of alphas.jsonl, at least one."""
    file = run_dir / "options.yml"
    content = read_yaml(file) if file.is_file() else {}
    if "alpha_optimizer" not in content:
        raise UserError(f"{run_dir}: not a search's folder (no options.yml of a search)")
    rows = read_alphas(run_dir / "alphas.jsonl")
    if not rows:
        raise UserError(f"{run_dir}: no epoch is finished yet")
    options: SearchOptions = check_options("search", content, str(file))
    return options, rows


def _last_cell(names: Sequence[str]) -> dict[str, str]:
    """Return {name: prefix of its module names} of the last cell, or {} without numbered cells."""
    found = re.match(r".*?\.\d+(?=\.)", names[-1])
    return {found.group(): f"{found.group()}."} if found else {}


def _mean(correlations: Sequence[Correlation]) -> dict[str, float]:
    return {name: fmean(getattr(one, name) for one in correlations) for name in Correlation._fields}
