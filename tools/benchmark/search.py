"""Whole searches judged by a table: minutes until the genotype is, and stays, in the upper tenth.

    .venv/bin/python tools/benchmark/search.py --table datasets/imdn_x2.csv.gz --images DIR
        [--study study/imdn_table.yml] [--arm darts] [--seeds 5] [--threads 2] [--json FILE]

The searches are those of an arm of a study. Time counts from the start of the process's search to
the end of an epoch, with the opening of the images.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import machine, parse, show

from srnas.analysis.logs import read_metrics
from srnas.analysis.trajectory import convergence
from srnas.engine import search as engine
from srnas.files import read_json_lines
from srnas.table.study import load_study

GOOD = 90.0  # percentile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="the study's images")
    parser.add_argument("--study", type=Path, default=Path("study/imdn_table.yml"))
    parser.add_argument("--arm", default="darts")
    parser.add_argument("--seeds", type=int, default=5)
    arguments, device = parse(parser, 1)
    places = [f"search.data.{split}.hr={arguments.images}" for split in ("train", "alpha")]
    study = load_study(arguments.study, places)
    print(f"{machine(device)}; arm {arguments.arm}")
    rows = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            changes = {
                "experiments": Path(folder),
                "table": arguments.table,
                "threads": arguments.threads,
                "device": arguments.device,
            }
            options = study.options(arguments.arm, seed).model_copy(update=changes)
            rows.append({"seed": seed, **timed(options)})
    show(rows, arguments.json)
    reached = [row["minutes_to_good"] for row in rows if row["minutes_to_good"] is not None]
    within = f", in {median(reached):.1f} minutes (median)" if reached else ""
    print(f"{len(reached)} of {len(rows)} end in the upper tenth{within}")


def timed(options: Any) -> dict[str, Any]:
    """Run a search; return its minutes, those to a good genotype, and where it ended."""
    ends: list[float] = []
    close = engine._close_epoch

    def clocked(*arguments: Any) -> Any:
        figures = close(*arguments)
        ends.append(time.monotonic() - began)
        return figures

    engine._close_epoch = clocked
    began = time.monotonic()
    try:
        engine.search(options)
    finally:
        engine._close_epoch = close
    rows = read_metrics(options.folder / "metrics.jsonl")
    percentiles = [row["table_percentile"] for row in rows if "table_percentile" in row]
    epochs = read_json_lines(options.folder / "alphas.jsonl")
    good = None
    for minutes, percentile in reversed(list(zip(ends, percentiles, strict=True))):
        if percentile < GOOD:
            break
        good = minutes / 60
    return {
        "minutes": ends[-1] / 60,
        "minutes_to_good": good,
        "percentile": percentiles[-1],
        "settled_since_epoch": convergence(epochs).epoch + 1,
    }


if __name__ == "__main__":
    main()
