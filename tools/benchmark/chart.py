"""Draw docs/images/steps.svg: how much faster than a plain loop a search step is.

    .venv/bin/python tools/benchmark/chart.py

The figures are those of steps.csv beside this file, which `step.py` measured.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from srnas.report.charts import COLORS, STYLE

MEASURED = Path(__file__).with_name("steps.csv")
IMAGE = Path(__file__).parents[2] / "docs/images/steps.svg"
PASSES = ("weight", "alpha")


class Group(NamedTuple):
    """The two passes of one measurement.

    Attributes:
        title: Name in the chart.
        ratios: Time of the plain loop over ours, of the weight and the alpha passes.
    """

    title: str
    ratios: tuple[float, float]


def read_groups(file: Path = MEASURED) -> list[Group]:
    """Return the measurements in the order of the file."""
    found: dict[str, dict[str, float]] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            title = (
                f"{row['space']}, {row['channels']} channels, K = {row['partial_channels']}, "
                f"{row['precision']} ({row['processor']})"
            )
            found.setdefault(title, {})[row["passes"]] = float(row["ratio"])
    return [Group(title, (ratios["weight"], ratios["alpha"])) for title, ratios in found.items()]


def draw(groups: list[Group]) -> Figure:
    """Draw a bar for each pass; the line at 1 is the plain loop."""
    figure = Figure(figsize=(7.2, 0.42 * len(groups) + 1), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(groups))
    for number, name in enumerate(PASSES):
        ratios = [group.ratios[number] for group in groups]
        shift = 0.4 * (number - 0.5)
        bars = axes.barh(places + shift, ratios, 0.36, color=COLORS[number], label=f"{name} step")
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=7)
    axes.axvline(1, color=mpl.rcParams["axes.labelcolor"], lw=1)
    axes.set_yticks(places, [group.title for group in groups])
    axes.invert_yaxis()
    axes.margins(x=0.07)
    axes.set_xlabel("time of a plain loop over the candidates / time of srnas")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def main() -> None:
    """Write the chart."""
    with mpl.rc_context(fname=STYLE):
        metadata = {"Date": None, "Creator": None}
        draw(read_groups()).savefig(IMAGE, format="svg", metadata=metadata)
    text = IMAGE.read_text()
    IMAGE.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


if __name__ == "__main__":
    main()
