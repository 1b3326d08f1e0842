"""A page, and a CSV file, that compare several runs."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from srnas.analysis.trajectory import convergence
from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.files import write_atomic
from srnas.metrics import title_of
from srnas.report.charts import lines, scatter
from srnas.report.render import render
from srnas.report.run import RunRecord, read_run, told_of

Row = dict[str, str | float | None]
SCORES = {"accuracy": "accuracy, %"}  # of scores that are no metric of images
COLUMNS = {
    "run": "run",
    "method": "method",
    "score": "score",
    "params": "parameters",
    "gmacs": "GMACs",
    "ms": "ms",
    "percentile": "percentile",
    "settled": "settled at epoch",
    "genotype": "genotype",
}


def write_comparison(run_dirs: Sequence[Path], out: Path) -> list[Path]:
    """Compare runs in a page and a table.

    Args:
        run_dirs: Folders of searches and trainings.
        out: The page, FILE.html; FILE.csv is written beside it.

    Raises:
        UserError: A folder is not a run folder, a file in one is broken, one is given twice, or
            tasks with different scores are mixed.
    """
    runs = [read_run(Path(folder)) for folder in run_dirs]
    names = _names([run.folder.resolve() for run in runs])
    with told_of(*(run.folder for run in runs)):
        score, *others = dict.fromkeys(run.score() for run in runs)
        if others:
            raise UserError(f"runs with {score} and with {others[0]}: compare each kind separately")
        columns = {score if key == "score" else key: title for key, title in COLUMNS.items()}
        columns[score] = SCORES.get(score) or title_of(score)
        rows = [_row(run, name, score) for run, name in zip(runs, names, strict=True)]
        page = render(
            "comparison.html",
            title="Comparison of runs",
            refresh=None,
            head=list(columns.values()),
            rows=[[_text(row[key]) for key in columns] for row in rows],
            fronts=_fronts(rows, score, runs[0].higher_is_better()),
            trajectories=_trajectories(dict(zip(names, runs, strict=True))),
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files = [out.with_suffix(".html"), out.with_suffix(".csv")]
    write_atomic(files[0], page)
    write_atomic(files[1], text.getvalue())
    return files


def _names(folders: Sequence[Path]) -> list[str]:
    """Name runs by their folders, and by the folders above where those are equal."""
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"{folder}: given twice; name each run once")
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _row(run: RunRecord, name: str, score: str) -> Row:
    """Return a run's row of the table; None for missing values."""
    macs = [value["macs"] for value in run.costs.values() if isinstance(value, dict)]
    method = run.options.get("from_method") if run.kind == "search" else "training"
    settled = convergence(run.alphas) if run.learns else None
    return {
        "run": name,
        "method": str(method or "own options"),
        score: run.last(f"val_{score}"),
        "params": run.costs.get("params"),
        "gmacs": round(macs[-1] / 1e9, 3) if macs else None,
        "ms": next(iter(run.latencies().values()), None),
        "percentile": run.last("table_percentile"),
        "settled": settled.epoch + 1 if settled and settled.converged else None,
        "genotype": str(Genotype(run.space["name"], run.choices)) if run.choices else None,
    }


def _text(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"


def _fronts(rows: Sequence[Row], score: str, higher: bool) -> list[str]:
    """Draw the score against each cost; runs that no other one beats at their cost are joined."""
    figures = []
    label = SCORES.get(score) or title_of(score)
    name = label[0].upper() + label.split(",")[0][1:]
    for key, title in (("params", "parameters"), ("gmacs", "GMACs"), ("ms", "ms")):
        points = {
            f"{row['run']}{' (random)' if row['method'] == 'random' else ''}": [
                (float(row[key] or 0), float(row[score] or 0))
            ]
            for row in rows
            if row[key] is not None and row[score] is not None
        }
        if len(points) > 1:
            every = [one for group in points.values() for one in group]
            best = [p for p in every if not any(_beats(q, p, higher) for q in every)]
            figures.append(scatter(f"{name} against {title}", points, title, label, best))
    return figures


def _beats(one: tuple[float, float], other: tuple[float, float], higher: bool) -> bool:
    better = one[1] >= other[1] if higher else one[1] <= other[1]
    return one != other and one[0] <= other[0] and better


def _trajectories(runs: dict[str, RunRecord]) -> list[str]:
    curves = {key: title for run in runs.values() for key, title in run.task_curves().items()}
    titles = {
        **curves,
        "loss": "Loss",
        "entropy": "Entropy of a choice, nats",
        "table_percentile": "Percentile in the table",
    }
    figures = []
    for key, title in titles.items():
        series = {
            name: run.series(key) for name, run in runs.items() if run.learns or key != "entropy"
        }
        figures.append(lines(title, series, "step", log=key == "loss"))
    return figures
