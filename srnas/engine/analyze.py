"""Measurements on a search's folder, finished or running: what is in its logs, and what its
supernet says at the checkpoint.

The folder's own files are only read, so the search goes on as if nobody had looked.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from srnas.analysis import (
    Correlation,
    convergence,
    edge_gradient_correlations,
    landscape,
    operator_gradients,
    substitute,
    weight_gradient_correlation,
)
from srnas.analysis.nasbench201 import COLUMNS, load_table, look_up
from srnas.choice import Genotype
from srnas.engine.distributed import Place, choose_device
from srnas.engine.progress import Progress
from srnas.engine.run import CHECKPOINT, load_parts
from srnas.engine.search_state import Search
from srnas.errors import UserError, did_you_mean
from srnas.files import (
    load_tensors,
    read_json,
    read_json_lines,
    read_yaml,
    write_atomic,
    write_json,
)
from srnas.options import SearchOptions, check_options

FOLDER = "analysis"
LANDSCAPES = {"weights": "filter", "alphas": "tensor"}  # what moves -> how it is normalized
Batches = Sequence[tuple[Any, Any]]  # one of the weights' images, one of the alphas'


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
    """Measure a search; returns what was measured, one section a key, each with its "step".

    gradients: `gradient_figures`. landscape_of: "weights" or "alphas", a points x points grid
        from -span to span. batches: how many of each split both use, the next ones at the
        checkpoint. substitution: a label; `table` has the accuracies.

    RUN_DIR/analysis/analysis.json keeps the sections, also those of earlier calls; the
    landscape goes beside it as PNG and NPZ. Raises UserError for the user's mistakes.
    """
    if landscape_of not in (None, *LANDSCAPES):
        raise UserError(f"--landscape {landscape_of}: {did_you_mean(landscape_of, LANDSCAPES)}")
    if points < 2 or span <= 0 or batches < 1:
        raise UserError("--points is 2 at least, --batches 1, and --span above 0")
    run_dir = Path(run_dir)
    options, rows = _open(run_dir)
    metrics = read_json_lines(run_dir / "metrics.jsonl")
    result: dict[str, Any] = {"trajectory": trajectory(options, rows, metrics)}
    if substitution:
        space = options.space["name"]
        result["substitution"] = substitutions(space, rows[-1], substitution, table)
    if gradients or landscape_of:
        step, state = restore(run_dir, options, device)
        drawn = [(next(state.train), next(state.alpha)) for _ in range(batches)]
    if gradients:
        result["gradients"] = {"step": step, **gradient_figures(state, drawn)}
    if landscape_of:
        folder = run_dir / FOLDER
        figures = write_landscape(folder, state, drawn, landscape_of, points, span)
        result[f"landscape_{landscape_of}"] = {"step": step, **figures}
    file = run_dir / FOLDER / "analysis.json"
    write_json(file, {**(read_json(file) if file.exists() else {}), **result})
    return result


def trajectory(
    options: SearchOptions, rows: Sequence[dict[str, Any]], metrics: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What the logs say, alphas.jsonl (`rows`) and metrics.jsonl.

    convergence_epoch (from 0) and converged: see `convergence`; converge_share: the part of the
    epochs until then (SA-DARTS's converge/total cost). figures: for each of `summarize`, and
    for the expected MACs, the first and the last epoch's, the least and the largest.
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
    """The genotype of a row of alphas.jsonl with each candidate at one edge: its accuracy in
    NAS-Bench-201, and Kendall's tau (None where it is not defined); see `substitute`."""
    if space != "nasbench201":
        raise UserError(
            f"--substitution: no table has the networks of space {space!r}, they would have to be "
            "trained; from Python, srnas.analysis.substitute takes any score of a genotype"
        )
    if label not in row["candidates"]:
        raise UserError(f"--substitution {label}: {did_you_mean(label, row['candidates'])}")
    if table is None:
        raise UserError("--substitution: name the table of NAS-Bench-201 by --table")
    genotype = Genotype(space, row["genotype"])
    accuracies = load_table(table)
    probes = {
        dataset: substitute(
            genotype,
            label,
            row["candidates"][label],
            row["alphas"][label],
            lambda g, dataset=dataset: look_up(accuracies, g.choices["cell"], table)[dataset],
        )
        for dataset in COLUMNS
    }
    first = probes["cifar10"]
    return {
        "step": row["step"],
        "label": label,
        "candidates": first.candidates,
        "alphas": first.alphas,
        "accuracy": {dataset: probe.scores for dataset, probe in probes.items()},
        "tau": {d: None if np.isnan(p.tau) else p.tau for d, p in probes.items()},
    }


def restore(run_dir: Path, options: SearchOptions, device: str) -> tuple[int, Search]:
    """The step of a search's checkpoint, and the state in it: supernet, data, progress."""
    file = run_dir / CHECKPOINT
    if not file.is_file():
        raise UserError(f"{run_dir}: no checkpoint yet; wait for its first one")
    saved = load_tensors(file)
    state = Search(options, Place(choose_device(device)))
    state.shrink_as_before(saved["step"])
    load_parts(saved, state.parts, file)
    state.set_progress((saved["step"] - 1) // options.steps_per_epoch / options.epochs)
    return saved["step"], state


def gradient_figures(state: Search, drawn: Batches) -> dict[str, Any]:
    """Means over the pairs of batches, of the supernet in training mode, as the search sees it.

    weights, edges: `weight_gradient_correlation` and `edge_gradient_correlations` of a pair.
    operators: `operator_gradients` on the alphas' batch, over all mixed operations and over
    those of the last cell, which Single-DARTS looks at.
    """
    supernet = state.supernet.train()
    weights, edges, operators = [], [], []
    with Progress(len(drawn)) as progress:
        for done, (train, alpha) in enumerate(drawn, 1):
            pair = (lambda batch=train: state.loss(batch)), (lambda batch=alpha: state.loss(batch))
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
    folder: Path, state: Search, drawn: Batches, of: str, points: int, span: float
) -> dict[str, Any]:
    """Write landscape_{of}.npz (positions, loss) and .png; returns its figures.

    The loss is the mean over the alphas' batches, in evaluation mode; the run's seed draws the
    directions.
    """
    from srnas.report.landscape import draw_landscape  # matplotlib is slow to import

    supernet = state.supernet.eval()
    parameters = supernet.weight_parameters() if of == "weights" else supernet.arch_parameters()

    def loss() -> float:
        return fmean(float(state.loss(alpha)) for _, alpha in drawn)

    with torch.no_grad():
        here = loss()
    with Progress(points**2) as progress:

        def watched() -> float:
            value = loss()
            progress.advance(progress.step + 1)
            if progress.step % points == 0:
                progress.say(f"loss {value:.4g}")
            return value

        generator = torch.Generator().manual_seed(state.options.seed)
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
        "seed": state.options.seed,
        "loss": here,
        "min": float(finite.min()),
        "max": float(finite.max()),
        "files": [f"landscape_{of}.npz", f"landscape_{of}.png"],
    }


def _open(run_dir: Path) -> tuple[SearchOptions, list[dict[str, Any]]]:
    """A search's options and its rows of alphas.jsonl, one at least."""
    file = run_dir / "options.yml"
    content = read_yaml(file) if file.is_file() else {}
    if "alpha_optimizer" not in content:
        raise UserError(f"{run_dir}: not a search's folder (no options.yml of a search)")
    rows = read_json_lines(run_dir / "alphas.jsonl")
    if not rows:
        raise UserError(f"{run_dir}: no epoch is finished yet")
    return check_options("search", content, str(file)), rows


def _last_cell(names: Sequence[str]) -> dict[str, str]:
    """The last cell's name and what its modules' names begin with; none in a network without
    numbered cells."""
    found = re.match(r".*?\.\d+(?=\.)", names[-1])
    return {found.group(): f"{found.group()}."} if found else {}


def _mean(correlations: Sequence[Correlation]) -> dict[str, float]:
    return {name: fmean(getattr(one, name) for one in correlations) for name in Correlation._fields}
