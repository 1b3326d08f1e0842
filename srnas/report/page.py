"""The report of a run: a single HTML file without external references, made from the run folder."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from srnas.analysis.trajectory import convergence
from srnas.choice import Genotype
from srnas.files import read_json, read_text, write_atomic
from srnas.metrics import best_of, find_metric, show_value, title_of
from srnas.report.charts import lines, ranked_lines
from srnas.report.parts import cards, charts, escape, heat_map, page, picture, section, table
from srnas.report.run import RunRecord, read_run, told_of
from srnas.spaces import SPACES, draw

PICTURES = 2_000_000  # bytes of crops and other pictures in a page
FIGURES = {  # values of each epoch: title -> {key in metrics.jsonl: name in the legend}
    "Gap between the two largest probabilities": {
        "top2_gap_min": "least",
        "top2_gap_mean": "mean",
        "top2_gap_min_without_none": "least, without none",
        "top2_gap_mean_without_none": "mean, without none",
    },
    "Entropy of a choice, nats": {"entropy": ""},
    "Share of parameter-free operations": {"parameter_free_share": ""},
}
OLD_METRICS = ["psnr", "ssim"]  # of results that do not name them
TABLE_CURVES = {
    "table_percentile": "Genotypes in the table that are worse than the epoch's, %",
    "table_regret": "PSNR that the table's best genotype is better than the epoch's, dB",
}


def write_report(run_dir: Path, refresh: int | None = None) -> Path:
    """Write report.html into a run folder.

    Args:
        refresh: After how many seconds a browser loads the page again, if it does.

    Returns:
        Path of the report.

    Raises:
        UserError: `run_dir` is not a run folder, or a file in it is broken.
    """
    run = read_run(Path(run_dir))
    with told_of(run.folder):
        body = [_head(run, refresh), "" if refresh else _left(run), _verdict(run)]
        body += [cards(run.figures()), _network(run)]
        body += [_probabilities(run), _alphas(run), _convergence(run), _curves(run)]
        body += [_quality(run), _analysis(run), _options(run)]
    write_atomic(run.folder / "report.html", page(run.folder.name, body, refresh))
    return run.folder / "report.html"


def _head(run: RunRecord, refresh: int | None) -> str:
    parts = [f"<h1>{escape(run.folder.name)}</h1>", f"<p>{escape(run.summary())}</p>"]
    history = run.history()
    if refresh:
        history = [f"live, as of {datetime.now():%Y-%m-%d %H:%M:%S}", *history]
    if history:
        parts.append(f'<p class="quiet">{escape("; ".join(history))}</p>')
    return "".join(parts)


def _left(run: RunRecord) -> str:
    left = run.left()
    return f'<p class="verdict open">{escape(left)}</p>' if left else ""


def _verdict(run: RunRecord) -> str:
    """Say in words whether a search has settled, and how sure it is."""
    if len(run.alphas) < 2 or not run.learns:
        return ""
    settled, converged = convergence(run.alphas)
    epochs = run.alphas[-1]["epoch"] + 1
    text = f"The genotype is the same since epoch {settled + 1} of {epochs}."
    text += "" if converged else " The search has not converged."
    gaps = run.gaps()
    if gaps:
        weakest = min(gaps, key=lambda label: gaps[label])
        text += (
            f" At every position the most probable candidate is ahead of the next by at least "
            f"{gaps[weakest]:.2f} ({weakest})."
            if gaps[weakest] >= 0.005
            else f" At {weakest} the two most probable candidates are level."
        )
    kind = "verdict" if converged else "verdict open"
    return f'<p class="{kind}">{escape(text)}</p>'


def _network(run: RunRecord) -> str:
    choices = run.choices
    if choices is None:
        return "<p>No genotype yet.</p>"
    drawings = draw(run.space, choices) if run.space.get("name") in SPACES else []
    title = "The found network" if run.kind == "search" else "The network"
    if not drawings:
        rows = [(label, choice) for label, choice in choices.items()]
        return section(title, table(("position", "choice"), rows))
    figures = [
        f"<figure><figcaption>{escape(one.title)}</figcaption>{one.svg()}</figure>"
        for one in drawings
    ]
    return section(title, charts(*figures))


def _probabilities(run: RunRecord) -> str:
    rows = run.probabilities()
    if not rows or not run.learns:
        return ""
    operations = {k: row for k, row in rows.items() if k in run.alphas[-1].get("candidates", {})}
    inputs = {k: row for k, row in rows.items() if k not in operations}
    maps = [heat_map(one, run.chosen(one)) for one in (operations, inputs) if one]
    note = "<p>At the last epoch; what the genotype takes is framed.</p>"
    return section("Probabilities", note, *maps)


def _alphas(run: RunRecord) -> str:
    if len(run.alphas) < 2 or not run.learns:
        return ""
    figures = []
    for label, names in run.names().items():
        series = {
            name: [(row["epoch"] + 1, row["alphas"][label][index]) for row in run.alphas]
            for index, name in enumerate(names)
        }
        figures.append(ranked_lines(label, series, "epoch"))
    note = "<p>Logits of the candidates; the three largest at the end are named.</p>"
    return section("Alphas", note, charts(*figures))


def _convergence(run: RunRecord) -> str:
    rows = [row for row in run.metrics if "entropy" in row]
    if len(rows) < 2 or not run.learns:
        return ""
    mark = convergence(run.alphas).epoch + 1 if run.alphas else None
    figures = []
    for title, names in FIGURES.items():
        series = {
            name: [(row["epoch"] + 1, row[key]) for row in rows if key in row]
            for key, name in names.items()
        }
        if any(value for points in series.values() for _, value in points):
            figures.append(lines(title, series, "epoch", mark=mark))
    note = "<p>Dotted: from here on the genotype stays the same.</p>"
    return section("Convergence", note, charts(*figures))


def _curves(run: RunRecord) -> str:
    losses = {"loss": run.series("loss"), "alpha_loss": run.series("alpha_loss")}
    positive = all(value > 0 for points in losses.values() for _, value in points)
    figures = [lines("Loss", _named(losses), "step", log=positive)]
    for key, title in {**run.task_curves(), **TABLE_CURVES}.items():
        others = run.baselines(key)
        series = {"network" if others else "": run.series(key), **others}
        figures.append(lines(title, series, "step"))
    key = "expected_macs_per_pixel"
    macs = [(row["step"], row[key]) for row in run.alphas if run.learns and key in row]
    figures.append(lines("Expected MACs per pixel of the searched operations", {"": macs}, "step"))
    return section("Curves", charts(*figures))


def _named(series: Mapping[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    names = {"loss": "weights' images", "alpha_loss": "alphas' images"}
    return {names[key]: points for key, points in series.items()}


def _quality(run: RunRecord) -> str:
    """Show what `srnas test --json` measured, and the crops, if they lie in the folder."""
    parts = [_beside(run)]
    for file in sorted(run.folder.glob("*.json")):
        content = read_json(file)
        if isinstance(content, dict) and {"protocol", "results", "scale"} <= set(content):
            parts.append(_test(content))
    used, figures = 0, []
    for file in sorted((run.folder / "crops").rglob("*.png")):
        used += file.stat().st_size
        if used <= PICTURES:
            figures.append(picture(file, file.stem))
    return section("Quality", *parts, charts(*figures))


def _beside(run: RunRecord) -> str:
    """Show the last validation beside bicubic's and that of other trainings on the same images."""
    names, score = run.validated(), run.score()
    if run.kind == "search" or score not in names:
        return ""
    rows = [
        (name, "", {score: points[-1][1]}) for name, points in run.baselines(f"val_{score}").items()
    ]
    rows.append((f"{run.name} (this run)", _network_name(run), _last(run, names)))
    for other in run.siblings():
        values = _last(other, names)
        if score in values:
            rows.append((other.name, _network_name(other), values))
    if len(rows) == 1:
        return ""
    rows.sort(key=lambda row: row[2][score], reverse=not run.higher_is_better())
    note = "<p>At the last validation of each training.</p>"
    shown = [
        (name, network, *(show_value(n, values[n]) if n in values else "" for n in names))
        for name, network, values in rows
    ]
    return note + table(("run", "network", *map(title_of, names)), shown)


def _last(run: RunRecord, names: Iterable[str]) -> dict[str, float]:
    values = {name: run.last(f"val_{name}") for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _network_name(run: RunRecord) -> str:
    return str(Genotype(run.space["name"], run.choices)) if run.choices else ""


def _test(content: dict[str, Any]) -> str:
    """Show a result of `srnas test`: a row for each set and network, a column for each metric."""
    models = {"this network": content["results"]}
    models |= {str(m.get("model", "another")): m["results"] for m in content.get("beside", ())}
    names = content["results"][0].get("metrics", OLD_METRICS) if content["results"] else OLD_METRICS
    rows: list[list[str]] = []
    best: set[tuple[int, int]] = set()
    for index, one in enumerate(content["results"]):
        measured = {"bicubic": one["bicubic"]} | {n: r[index] for n, r in models.items()}
        for column, metric in enumerate(names, 2):
            most = best_of(metric, [values[metric] for values in measured.values()])
            for row, values in enumerate(measured.values(), len(rows)):
                best |= {(row, column)} if values[metric] == most else set()
        rows += [
            [one["dataset"], network, *(show_value(name, values[name]) for name in names)]
            for network, values in measured.items()
        ]
    lower = [name for name in names if (one := find_metric(name)) and not one.higher_is_better]
    note = f" Lower is better: {'; '.join(map(title_of, lower))}." if lower else ""
    text = f"<p>x{content['scale']}, protocol {escape(content['protocol'])}.{escape(note)}</p>"
    return text + table(("set", "network", *map(title_of, names)), rows, True, best)


def _analysis(run: RunRecord) -> str:
    folder = run.folder / "analysis"
    parts = []
    if (folder / "analysis.json").is_file():
        found = read_json(folder / "analysis.json")
        figures = found.get("trajectory", {}).get("figures", {})
        rows = [
            (name, *(f"{values[k]:.4g}" for k in ("first", "last", "min", "max")))
            for name, values in figures.items()
        ]
        if rows:
            head = ("figure", "first", "last", "least", "largest")
            parts.append(table(head, rows, numbers=True))
    figures = [picture(file, file.stem.replace("_", " ")) for file in folder.glob("*.png")]
    return section("Analysis", *parts, charts(*figures))


def _options(run: RunRecord) -> str:
    text = read_text(run.folder / "options.yml")
    command = f"srnas {run.kind} -opt options.yml name={run.folder.name}-again"
    return (
        f"<details><summary>Options, and the command that repeats the run</summary>"
        f"<pre>{escape(command)}</pre><pre>{escape(text)}</pre></details>"
    )
