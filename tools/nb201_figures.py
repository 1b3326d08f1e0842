"""Summarize tools/compare_nb201.sh: a table of accuracies, and a figure of the unfair start.

Usage: .venv/bin/python tools/nb201_figures.py OUT TABLE.csv.gz
"""

import sys
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure

from srnas.files import read_json, read_json_lines
from srnas.spaces.nasbench201_table import load_table

METHODS = ("darts", "sa_darts", "sac_darts", "beta_darts", "single_darts")
UNFAIR = {"darts": "L2", "beta_darts": "Beta", "sa_darts": "SA"}
WATCHED = ("skip_connect", "nor_conv_3x3")


def accuracies(out: Path, table: dict[str, dict[str, float]]) -> None:
    """Print the test accuracies of the cells that each method found, in percent after 200 epochs.

    Args:
        out: Folder of the runs.
        table: Table that `load_table` returned.
    """
    cells = list(table.values())
    print("| method | CIFAR-10 | CIFAR-100 | ImageNet16-120 | CIFAR-10, each seed |")
    print("| --- | --- | --- | --- | --- |")
    for method in METHODS:
        found = [
            table[read_json(out / f"{method}_{seed}" / "genotype.json")["choices"]["cell"]]
            for seed in range(3)
        ]
        means = (fmean(f[name] for f in found) for name in found[0])
        each = ", ".join(f"{f['cifar10']:.2f}" for f in found)
        print(f"| {method} | {' | '.join(f'{m:.2f}' for m in means)} | {each} |")
    for name, row in {
        "mean of all cells": [fmean(c[n] for c in cells) for n in cells[0]],
        "their standard deviation": [stdev(c[n] for c in cells) for n in cells[0]],
        "best cell on each": [max(c[n] for c in cells) for n in cells[0]],
    }.items():
        print(f"| {name} | {' | '.join(f'{v:.2f}' for v in row)} | |")


def unfair_start(out: Path) -> Path:
    """Plot the probabilities of skip connection and 3x3 convolution: the six edges and their mean.

    Args:
        out: Folder of the runs; the figure is written there.

    Returns:
        Path of the figure.
    """
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (method, name) in zip(
        figure.subplots(1, len(UNFAIR), sharey=True), UNFAIR.items(), strict=True
    ):
        rows = read_json_lines(out / f"unfair_{method}" / "alphas.jsonl")
        epochs = [row["epoch"] + 1 for row in rows]
        for candidate, color in zip(WATCHED, ("tab:red", "tab:blue"), strict=True):
            curves = [
                [
                    row["probabilities"][edge][row["candidates"][edge].index(candidate)]
                    for row in rows
                ]
                for edge in rows[0]["candidates"]
            ]
            for curve in curves:
                axes.plot(epochs, curve, color=color, alpha=0.25, linewidth=0.8)
            means = [fmean(values) for values in zip(*curves, strict=True)]
            axes.plot(epochs, means, color=color, linewidth=2, label=candidate)
            print(f"{name}: {candidate} {means[0]:.4f} -> {means[-1]:.4f} (mean of six edges)")
        axes.set(title=name, xlabel="epoch")
    axes.legend()
    figure.axes[0].set_ylabel("probability")
    file = out / "unfair_start.png"
    figure.savefig(file, dpi=120)
    return file


def main() -> None:
    """Print the table and write the figure."""
    out = Path(sys.argv[1])
    accuracies(out, load_table(Path(sys.argv[2])))
    print(unfair_start(out))


if __name__ == "__main__":
    main()
