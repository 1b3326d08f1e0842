"""A run's page: one HTML file without outside references, made from the run's folder."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from srnas.errors import UserError
from srnas.files import read_json, read_json_lines, read_text, write_atomic

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ccc }
img { max-width: 100% } pre { background: #f5f5f5; padding: 1rem; overflow-x: auto }
"""


def write_report(run_dir: Path) -> Path:
    """Write report.html into a run folder; returns its path. UserError if it is no run."""
    run_dir = Path(run_dir)
    if not (run_dir / "options.yml").is_file():
        raise UserError(f"{run_dir}: not a run folder (no options.yml)")
    metrics = read_json_lines(run_dir / "metrics.jsonl")
    alphas = read_json_lines(run_dir / "alphas.jsonl")
    sections = [_genotype(run_dir), _last_values(metrics)]
    for key, title in (("loss", "Loss"), ("val_psnr", "PSNR on the validation images, dB")):
        sections.append(_curve(metrics, key, title))
    if alphas:
        sections += [_alphas(alphas), _curve(alphas, "expected_macs_per_pixel", "Expected MACs")]
    sections.append(f"<h2>Options</h2><pre>{_escape(read_text(run_dir / 'options.yml'))}</pre>")
    title = _escape(run_dir.name)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{''.join(sections)}</html>\n"
    )
    write_atomic(run_dir / "report.html", page)
    return run_dir / "report.html"


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


def _alphas(rows: list[dict[str, Any]]) -> str:
    labels = list(rows[-1]["alphas"])
    names = rows[-1].get("candidates", {})
    figure = Figure(figsize=(8, 2.6 * len(labels)), layout="constrained")
    for axes, label in zip(figure.subplots(len(labels), squeeze=False)[:, 0], labels, strict=True):
        curves = zip(*(row["alphas"][label] for row in rows), strict=True)
        steps = [row["step"] for row in rows]
        for index, curve in enumerate(curves):
            name = names[label][index] if label in names else str(index)
            axes.plot(
                steps, curve, label=name, color=f"C{index % 10}", ls="-" if index < 10 else "--"
            )
        axes.set_title(label, loc="left", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
    return f"<h2>Alphas (logits)</h2>{_image(figure, 'alphas')}"


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
