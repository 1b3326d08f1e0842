"""The report of a run: a single HTML file without external references, made from the run folder."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from srnas.analysis.trajectory import convergence
from srnas.choice import Genotype
from srnas.diagram import Diagram
from srnas.files import read_json, read_text, write_atomic
from srnas.metrics import best_of, find_metric, show_value, title_of
from srnas.report.charts import lines, ranked_lines
from srnas.report.render import picture, render
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
TESTED = {"protocol", "results", "scale"}  # keys of a result of `srnas test`
LOSSES = {"loss": "weights' images", "alpha_loss": "alphas' images"}
TABLE_CURVES = {
    "table_percentile": "Genotypes in the table that are worse than the epoch's, %",
    "table_regret": "PSNR that the table's best genotype is better than the epoch's, dB",
}


def write_report(run_dir: Path, refresh: int | None = None) -> Path:
    """Write report.html into a run folder.

    Args:
        refresh: After how many seconds a browser loads the page again, if it does.

    Raises:
        UserError: `run_dir` is not a run folder, or a file in it is broken.
    """
    run = read_run(Path(run_dir))
    live = [f"live, as of {datetime.now():%Y-%m-%d %H:%M:%S}"] if refresh else []
    with told_of(run.folder):
        content = [read_json(file) for file in sorted(run.folder.glob("*.json"))]
        text = render(
            "report.html",
            title=run.folder.name,
            run=run,
            refresh=refresh,
            history=[*live, *run.history()],
            left="" if refresh else run.left(),
            settled=convergence(run.alphas) if run.learns else None,
            weakest=_weakest(run),
            figures=run.figures(),
            drawings=_drawings(run),
            maps=_maps(run),
            alphas=_alphas(run),
            convergence=_convergence(run),
            curves=_curves(run),
            shrunk=_shrunk(run),
            beside=_beside(run),
            tests=[_test(one) for one in content if isinstance(one, dict) and one.keys() >= TESTED],
            crops=_crops(run),
            front=_front(run),
            analysis=_analysis(run),
            landscapes=_landscapes(run),
            options=read_text(run.folder / "options.yml"),
        )
    write_atomic(run.folder / "report.html", text)
    return run.folder / "report.html"


def _weakest(run: RunRecord) -> dict[str, Any] | None:
    """Return the position whose most probable candidate is ahead of the next by the least."""
    gaps = run.gaps() if run.learns else {}
    label = min(gaps, key=lambda label: gaps[label], default=None)
    return None if label is None else {"label": label, "gap": gaps[label]}


def _drawings(run: RunRecord) -> list[Diagram]:
    drawn = run.choices is not None and run.space.get("name") in SPACES
    return draw(run.space, run.choices or {}) if drawn else []


def _maps(run: RunRecord) -> list[dict[str, dict[str, float]]]:
    """Return the last probabilities: those of operations, and those of inputs."""
    rows = run.probabilities() if run.learns else {}
    searched = run.alphas[-1].get("candidates", {}) if rows else {}
    parts = ({k: row for k, row in rows.items() if (k in searched) == of} for of in (True, False))
    return [part for part in parts if part]


def _alphas(run: RunRecord) -> list[str]:
    figures = []
    for label, names in run.names().items() if run.learns else ():
        series = {
            name: [(row["epoch"] + 1, row["alphas"][label][index]) for row in run.alphas]
            for index, name in enumerate(names)
        }
        figures.append(ranked_lines(label, series, "epoch"))
    return figures


def _convergence(run: RunRecord) -> list[str] | None:
    rows = [row for row in run.metrics if "entropy" in row]
    if len(rows) < 2 or not run.learns:
        return None
    mark = convergence(run.alphas).epoch + 1
    figures = []
    for title, names in FIGURES.items():
        series = {
            name: [(row["epoch"] + 1, row[key]) for row in rows if key in row]
            for key, name in names.items()
        }
        if any(value for points in series.values() for _, value in points):
            figures.append(lines(title, series, "epoch", mark=mark))
    return figures


def _curves(run: RunRecord) -> list[str]:
    losses = {name: run.series(key) for key, name in LOSSES.items()}
    positive = all(value > 0 for points in losses.values() for _, value in points)
    figures = [lines("Loss", losses, "step", log=positive)]
    for key, title in {**run.task_curves(), **TABLE_CURVES}.items():
        others = run.baselines(key)
        series = {"network" if others else "": run.series(key), **others}
        figures.append(lines(title, series, "step"))
    key = "expected_macs_per_pixel"
    macs = [(row["step"], row[key]) for row in run.alphas if run.learns and key in row]
    figures.append(lines("Expected MACs per pixel of the searched operations", {"": macs}, "step"))
    return figures


def _crops(run: RunRecord) -> list[tuple[str, str]]:
    used, crops = 0, []
    for file in sorted((run.folder / "crops").rglob("*.png")):
        used += file.stat().st_size
        crops += [picture(file)] if used <= PICTURES else []
    return crops


def _shrunk(run: RunRecord) -> dict[str, Any] | None:
    """Return what `srnas shrink` did to the network that this run distilled."""
    folder = run.folder / "shrink"
    if not (folder / "result.json").exists():
        return None
    result = read_json(folder / "result.json")
    narrowed = folder / "narrowed"
    stages = narrowed if narrowed.exists() else folder
    choice = read_json(stages / "again.json")
    sums = read_json(stages / "sums.json") if (stages / "sums.json").exists() else None
    cost, unit = result["cost"], result["unit"]
    qualities = result["quality"]
    front = sorted((row["cost"], 1e6 * row["loss"]) for row in choice["front"])
    title = "Predicted loss at a budget, mean squared error x 1e6; dotted: the budget"
    return {
        "original": f"{cost['original']:,.4g} {unit}",
        "result": f"{cost['result']:,.4g} {unit}",
        "times": f"{cost['original'] / cost['result']:.2f}",
        "stages": ("set", *qualities),
        "rows": [
            (name, *(f"{stage[name]['psnr']:.3f}" for stage in qualities.values()))
            for name in qualities["original"]
        ],
        "replaced": result["replaced"],
        "sums": sums and {**sums, "count": len(sums["compositions"])},
        "front": [lines(title, {"": front}, unit, mark=cost["budget"])],
    }


def _front(run: RunRecord) -> dict[str, Any] | None:
    """Return the networks of the front of a sampled search."""
    file = run.folder / "front.json"
    if not file.exists():
        return None
    networks = read_json(file)["networks"]
    points = [(row["cost"], row["score"]) for row in networks]
    return {
        "chart": [lines("Predicted score of the best network at a budget", {"": points}, "cost")],
        "rows": [
            (
                f"{row['cost']:,.4g}",
                f"{row['score']:.3f}",
                f"{row['deviation']:.3f}",
                str(Genotype(run.space["name"], row["choices"])),
            )
            for row in networks
        ],
    }


def _beside(run: RunRecord) -> dict[str, Any] | None:
    """Return the last validation beside bicubic and other trainings on the same images."""
    names, score = run.validated(), run.score()
    if run.kind == "search" or score not in names:
        return None
    rows = [
        (name, "", {score: points[-1][1]}) for name, points in run.baselines(f"val_{score}").items()
    ]
    rows.append((f"{run.name} (this run)", _network_name(run), _last(run, names)))
    for other in run.siblings():
        values = _last(other, names)
        if score in values:
            rows.append((other.name, _network_name(other), values))
    if len(rows) == 1:
        return None
    rows.sort(key=lambda row: row[2][score], reverse=not run.higher_is_better())
    shown = [
        (name, network, *(show_value(n, values[n]) if n in values else "" for n in names))
        for name, network, values in rows
    ]
    return {"head": ("run", "network", *map(title_of, names)), "rows": shown}


def _last(run: RunRecord, names: Iterable[str]) -> dict[str, float]:
    values = {name: run.last(f"val_{name}") for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _network_name(run: RunRecord) -> str:
    return str(Genotype(run.space["name"], run.choices)) if run.choices else ""


def _test(content: dict[str, Any]) -> dict[str, Any]:
    """Return what `srnas test --json` measured: a row for each set and network."""
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
    return {
        "scale": content["scale"],
        "protocol": content["protocol"],
        "lower": list(map(title_of, lower)),
        "head": ("set", "network", *map(title_of, names)),
        "rows": rows,
        "best": best,
    }


def _analysis(run: RunRecord) -> list[tuple[str, ...]]:
    file = run.folder / "analysis" / "analysis.json"
    found = read_json(file) if file.is_file() else {}
    return [
        (name, *(f"{values[k]:.4g}" for k in ("first", "last", "min", "max")))
        for name, values in found.get("trajectory", {}).get("figures", {}).items()
    ]


def _landscapes(run: RunRecord) -> list[tuple[str, str]]:
    files = (run.folder / "analysis").glob("*.png")
    return [picture(file, file.stem.replace("_", " ")) for file in files]
