#!/usr/bin/env python
"""Make the table, the figure and the CSV files of docs/results.md from the committed results.

python tools/results_page.py            # after the results or the table have changed
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from srnas.choice import Genotype
from srnas.files import read_json_lines
from srnas.latency.table import read_latency_table
from srnas.report.charts import COLORS, GREY, STYLE
from srnas.score_table import Table, read_table
from srnas.table.budget import budget
from srnas.table.judge import LEVEL, Array, Interval, collect, rivals, show_chance
from srnas.table.protocol import load_protocol
from srnas.table.results import read_results
from srnas.table.study import load_study, read_searched

ROOT = Path(__file__).parents[1]
DATA = ROOT / "datasets"
PAGE = ROOT / "docs/results.md"
IMAGE = ROOT / "docs/images/imdn_x2_study.svg"
BEGIN, END = "<!-- made by tools/results_page.py -->\n\n", "\n\n<!-- end -->"
TRAINING_SECONDS = 34  # the default of `srnas study collect`
SIMULATED = 20_000  # random searches of each length
STUDIES = {
    "imdn_x2_study": ("study/imdn_table.yml", "imdn_x2_study.jsonl.gz"),
    "imdn_x2_settings": ("study/imdn_settings.yml", "imdn_x2_settings.jsonl"),
}
TITLES = {
    "random": "random genotype, untrained",
    "darts": "DARTS",
    "sa": "SA",
    "sac": "SAC",
    "beta": "Beta-DARTS",
    "sac_flops": "SAC, FLOPs penalty 1",
    "sac_flops_10": "SAC, FLOPs penalty 10",
    "single_darts": "Single-DARTS",
    "drnas": "DrNAS",
    "gdas": "GDAS",
    "random_search_ws": "random, shared weights",
    "darts_prime": "DARTS-PRIME",
    "sa_quarter": "SA, a = 0.25",
    "sa_gelu": "SA, a = 0 (GELU)",
    "darts_4e-3": "DARTS, learning rate 4e-3",
    "darts_latency": "DARTS, latency penalty 1",
    "darts_latency_10": "DARTS, latency penalty 10",
}


class Method(NamedTuple):
    """A method of the study beside random search at equal cost.

    Attributes:
        title: Name on the page.
        found: Percentile of each seed.
        percentile: Their mean, with its interval.
        band: Mean of as many random searches at equal cost, with the interval that holds 95% of
            such means.
        difference: Mean minus what random search reaches on average, in points, with its interval.
        p: The probability of such a difference by luck, for all methods together (Holm).
        minutes: Processor time of a search.
    """

    title: str
    found: list[float]
    percentile: Interval
    band: Interval
    difference: Interval
    p: float
    minutes: float


def judged(name: str, table: Table) -> list[dict[str, Any]]:
    """Return the judged arms of one of `STUDIES`."""
    study, results = STUDIES[name]
    return collect(
        load_study(Path(study)),
        read_searched([DATA / results]),
        table,
        TRAINING_SECONDS,
        read_latency_table(DATA / "imdn_x2_latency.json"),
    )


def methods(table: Table) -> list[Method]:
    """Return the methods of the study, the highest mean percentile first."""
    found: dict[str, list[float]] = {}
    for result in read_searched([DATA / STUDIES["imdn_x2_study"][1]]):
        judgement = table.judge(Genotype(table.space, result.genotypes[-1]))
        found.setdefault(result.arm, []).append(judgement["percentile"])
    compared = [
        compare(TITLES[row["arm"]], found[row["arm"]], row["percentile"], row, table)
        for row in judged("imdn_x2_study", table)
    ]
    return sorted(compared, key=lambda method: -method.percentile.mean)


def compare(
    title: str, found: list[float], percentile: Interval, row: Mapping[str, Any], table: Table
) -> Method:
    """Set one method beside random search of its cost and its number of seeds."""
    band = central(band_means(table, row["draws"], len(found)))
    return Method(title, found, percentile, band, row["lead"], row["p"], row["minutes"])


def band_means(table: Table, draws: int, seeds: int) -> Array:
    """Return the mean percentiles of many groups of `seeds` random searches."""
    searches = SIMULATED // seeds * seeds
    means: Array = rivals(table, draws, searches=searches).reshape(-1, seeds).mean(1)
    return means


def central(sample: Array) -> Interval:
    """Return the mean of a sample and the ends of the interval that holds 95% of it."""
    low, high = np.quantile(sample, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(sample.mean()), float(low), float(high))


def show(rows: Iterable[Method]) -> str:
    """Return the six columns of the page as a Markdown table."""
    heads = ["method", "seeds", "percentile [95%]", "minus random at equal cost [95% together]"]
    heads += ["p", "CPU minutes"]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for row in rows:
        low, high = row.difference.low, row.difference.high
        cells = [
            row.title,
            str(len(row.found)),
            f"{row.percentile.mean:.1f} [{row.percentile.low:.1f}, {row.percentile.high:.1f}]",
            f"{row.difference.mean:+.1f} [{low:+.1f}, {high:+.1f}]",
            show_chance(row.p),
            f"{row.minutes:.1f}",
        ]
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def study_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return all figures of judged arms as CSV; intervals as three columns."""
    lines = []
    for row in rows:
        line = {"arm": row["arm"], "seeds": row["seeds"]}
        for name, unit, digits in (
            ("percentile", "", 2),
            ("regret", "_db", 4),
            ("regret_at_macs", "_db", 4),
            ("tau", "", 3),
            ("lead", "", 2),
        ):
            for part, value in row[name]._asdict().items():
                key = f"{name}{unit}" + ("" if part == "mean" else f"_{part}")
                line[key] = "" if math.isnan(value) else f"{value:.{digits}f}"
        line |= {
            "gmacs": f"{row['macs'] / 1e9:.3f}",
            "milliseconds": f"{row['ms']:.2f}",
            "largest_probability": f"{row['largest']:.3f}",
            "settled_epoch": f"{row['settled'] + 1:.1f}",
            "epochs": row["epochs"],
            "cpu_minutes": f"{row['minutes']:.2f}",
            "in_upper_tenth": len(row["good"]),
            "minutes_to_upper_tenth": f"{np.median(row['good']):.2f}" if row["good"] else "",
            "random_trainings": row["draws"],
            "random_percentile": f"{row['rival']:.2f}",
            "p": f"{row['p']:.2g}",
        }
        lines.append(line)
    return to_csv(lines)


def budget_csv() -> str:
    """Return what `srnas table budget` finds, as CSV."""
    results = read_results([DATA / "imdn_x2_results.jsonl.gz"])
    return to_csv(
        {
            "trainings": row["trainings"],
            "cpu_minutes": f"{row['minutes']:.1f}",
            **{
                f"{name}_{part}": f"{row[name][part]:.2f}"
                for name in ("best_seen", "model")
                for part in ("mean", "low", "high")
            },
        }
        for row in budget(load_protocol(Path("table/imdn_x2.yml")), results)
    )


def curves_csv() -> str:
    """Return the curves of the plain networks as CSV."""
    return to_csv(
        {
            "training": row["training"],
            "step": row["step"],
            "val_psnr": f"{row['val_psnr']:.4f}",
            **{
                f"{name}_{metric}": f"{row[name][place]:.{digits}f}"
                for name in ("Set5", "Set14")
                for place, (metric, digits) in enumerate((("psnr", 4), ("ssim", 5)))
            },
        }
        for row in read_json_lines(DATA / "plain_x2_curves.jsonl")
    )


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of equal keys as CSV."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(rows: Sequence[Method]) -> Figure:
    """Draw each method's mean with its interval, its seeds, and the band of random search."""
    figure = Figure(figsize=(7.2, 0.3 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    low, high = (np.array([getattr(r.band, end) for r in rows]) for end in ("low", "high"))
    axes.barh(places, high - low, left=low, height=1.0, color=GREY, alpha=0.25, lw=0,
              label="random search at equal cost")  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        axes.plot(row.found, [place] * len(row.found), "|", color=COLORS[0], alpha=0.5, ms=6)
    mean, left, right = (np.array([r.percentile[i] for r in rows]) for i in range(3))
    axes.errorbar(mean, places, xerr=[mean - left, right - mean], fmt="o", color=COLORS[0], ms=5,
                  lw=1.5, label="mean of five seeds, 95% interval")  # fmt: skip
    axes.set_yticks(places, [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("percentile among the 20,736 networks of the space")
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def write_image(rows: Sequence[Method], path: Path) -> None:
    """Write the figure as SVG, with the plotted numbers in its description."""
    described = json.dumps(rounded([row._asdict() for row in rows]))
    with mpl.rc_context(fname=STYLE):
        metadata = {"Date": None, "Creator": None, "Description": described}
        draw(rows).savefig(path, format="svg", metadata=metadata)
    text = path.read_text()
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def rounded(value: Any) -> Any:
    """Return JSON's values with three decimals."""
    return json.loads(json.dumps(value), parse_float=lambda digits: round(float(digits), 3))


def files(table: Table) -> dict[str, str]:
    """Return the text of each CSV file by its name in datasets/."""
    return {
        **{f"{name}.csv": study_csv(judged(name, table)) for name in STUDIES},
        "imdn_x2_budget.csv": budget_csv(),
        "plain_x2_curves.csv": curves_csv(),
    }


def main() -> None:
    """Write all files and the table of the page."""
    table = read_table(DATA / "imdn_x2.csv.gz")
    for name, text in files(table).items():
        (DATA / name).write_text(text)
    rows = methods(table)
    write_image(rows, IMAGE)
    before, rest = PAGE.read_text().split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}{show(rows)}{END}{after}")


if __name__ == "__main__":
    main()
