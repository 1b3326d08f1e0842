"""The report of a run: a single HTML file without external references, made from the run folder."""

import base64
import html
import io
from collections.abc import Sequence
from itertools import chain, zip_longest
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from srnas.analysis.trajectory import convergence
from srnas.errors import UserError
from srnas.files import read_json, read_json_lines, read_text, read_yaml, write_atomic
from srnas.spaces import SPACES
from srnas.tasks import task_of_space

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc }
img { max-width: 100% } pre { background: #f5f5f5; padding: 1rem; overflow-x: auto }
"""
FIGURES = {  # values of each epoch: title -> {key in metrics.jsonl: name in the legend}
    "Top-2 gap": {
        "top2_gap_min": "least",
        "top2_gap_mean": "mean",
        "top2_gap_min_without_none": "least, without none",
        "top2_gap_mean_without_none": "mean, without none",
    },
    "Entropy of a choice, nats": {"entropy": ""},
    "Share of parameter-free operations": {"parameter_free_share": ""},
}


def write_report(run_dir: Path) -> Path:
    """Write report.html into a run folder.

    Returns:
        Path of the report.

    Raises:
        UserError: `run_dir` is not a run folder.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "options.yml").is_file():
        raise UserError(f"{run_dir}: not a run folder (no options.yml)")
    metrics = read_json_lines(run_dir / "metrics.jsonl")
    alphas = read_json_lines(run_dir / "alphas.jsonl")
    sections = [_genotype(run_dir), _last_values(metrics)]
    for key, title in {"loss": "Loss", **_task_curves(run_dir), **TABLE_CURVES}.items():
        sections.append(_curve(metrics, key, title))
    if alphas:
        sections += [_trajectory(metrics, alphas), _alphas(alphas)]
        sections.append(_curve(alphas, "expected_macs_per_pixel", "Expected MACs"))
    sections.append(f"<h2>Options</h2><pre>{_escape(read_text(run_dir / 'options.yml'))}</pre>")
    title = _escape(run_dir.name)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{''.join(sections)}</html>\n"
    )
    write_atomic(run_dir / "report.html", page)
    return run_dir / "report.html"


TABLE_CURVES = {
    "table_percentile": "Genotypes in the table that are worse than the epoch's, %",
    "table_regret": "PSNR that the table's best genotype is better than the epoch's, dB",
}


def _task_curves(run_dir: Path) -> dict[str, str]:
    """Return the curves of the run's task, or none if its space is unknown."""
    space = read_yaml(run_dir / "options.yml").get("space")
    name = space.get("name") if isinstance(space, dict) else space
    return dict(task_of_space(name).curves) if isinstance(name, str) and name in SPACES else {}


def _genotype(run_dir: Path) -> str:
    file = run_dir / "genotype.json"
    if not file.exists():
        return "<p>No genotype yet.</p>"
    choices = read_json(file)["choices"]
    return f"<h2>Genotype</h2>{_table(('position', 'choice'), list(choices.items()))}"


def _last_values(metrics: list[dict[str, Any]]) -> str:
    last: dict[str, Any] = {}
    for row in metrics:
        last.update(row)
    if not last:
        return "<p>No metrics yet.</p>"
    rows = [(k, f"{v:.6g}" if isinstance(v, float) else v) for k, v in last.items()]
    return f"<h2>Last values</h2>{_table(('metric', 'value'), rows)}"


def _curve(rows: list[dict[str, Any]], key: str, title: str) -> str:
    points = [(row["step"], row[key]) for row in rows if key in row]
    if not points:
        return ""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True))
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    return f"<h2>{title}</h2>{_image(figure, title)}"


def _trajectory(metrics: list[dict[str, Any]], alphas: list[dict[str, Any]]) -> str:
    """State whether the genotype has converged, and plot the statistics of every epoch."""
    settled, converged = convergence(alphas)
    verdict = "" if converged else " The search has not converged."
    stays = f"The genotype is the same since epoch {settled + 1} of {alphas[-1]['epoch'] + 1}."
    text = f"<h2>Convergence</h2><p>{stays}{verdict}</p>"
    rows = [row for row in metrics if "entropy" in row]
    if not rows:
        return text
    epochs = [row["epoch"] + 1 for row in rows]
    figure = Figure(figsize=(8.8, 2.4), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(FIGURES)), FIGURES.items(), strict=True):
        for key, name in names.items():
            if key in rows[0]:
                axes.plot(epochs, [row[key] for row in rows], label=name)
        axes.axvline(settled + 1, color="0.6", lw=1, ls=":")
        axes.set_xlabel("epoch")
        axes.set_title(title, fontsize=10)
        axes.axhline(0, color="0.6", lw=1)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize=7)
    return text + _image(figure, "Convergence")


def _alphas(rows: list[dict[str, Any]]) -> str:
    """Plot a small panel per position; a candidate has the same line style in all of them."""
    last = rows[-1]["alphas"]
    names = {
        label: rows[-1].get("candidates", {}).get(label)
        or [f"input number {i}" for i in range(1, len(alpha) + 1)]
        for label, alpha in last.items()
    }
    operations = [label for label in names if label in rows[-1].get("candidates", {})]
    inputs = [label for label in names if label not in operations]
    sections = []
    for title, labels in (("Alphas", operations), ("Alphas of inputs", inputs)):
        if labels:
            figure = alpha_panels(rows, {label: names[label] for label in labels})
            sections.append(f"<h2>{title} (logits)</h2>{_image(figure, title)}")
    return "".join(sections)


def alpha_panels(rows: list[dict[str, Any]], names: dict[str, list[str]]) -> Figure:
    """Plot the alphas of each label over the epochs, with a common legend.

    Args:
        rows: Rows of alphas.jsonl.
        names: Names of the candidates by label.
    """
    columns = min(4, ceil(len(names) ** 0.5))
    lines = ceil(len(names) / columns)
    legend: dict[str, Any] = {}
    styles = {name: i for i, name in enumerate(dict.fromkeys(chain(*names.values())))}
    figure = Figure(figsize=(8.8, 0.7 + (0.7 + 3 / columns) * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for index, (axes, label) in enumerate(zip_longest(grid.flat, names)):
        if label is None:
            axes.set_axis_off()
            continue
        epochs = [row["epoch"] + 1 for row in rows]
        for name, *curve in zip(names[label], *(row["alphas"][label] for row in rows), strict=True):
            style = {
                "color": f"C{styles[name] % 10}",
                "ls": ("-", "--", ":")[styles[name] // 10 % 3],
            }
            (legend[name],) = axes.plot(epochs, curve, lw=1, **style)
        axes.set_title(label, loc="left", fontsize=8)
        axes.tick_params(labelsize=7, labelbottom=index >= len(names) - columns)
        axes.grid(alpha=0.3)
    figure.legend(
        legend.values(), legend, loc="outside upper center", ncols=5, fontsize=7, frameon=False
    )
    figure.supxlabel("epoch", fontsize=8)
    return figure


def _image(figure: Figure, title: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{_escape(title)}" src="data:image/png;base64,{data}">'


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{_escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _escape(text: Any) -> str:
    return html.escape(str(text))
