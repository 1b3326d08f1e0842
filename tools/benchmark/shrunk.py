"""Collect finished `srnas shrink` runs, a line of JSON each.

    .venv/bin/python tools/benchmark/shrunk.py NAME=RUN ... >> datasets/shrink_runs.jsonl

RUN is the `--out` of the run.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from srnas.files import read_json, read_yaml


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    for pair in parser.parse_args().runs:
        name, _, folder = pair.partition("=")
        print(json.dumps(row(name, Path(folder))))


def row(name: str, run: Path) -> dict[str, Any]:
    """What a run reached."""
    result = read_json(run / "shrink/result.json")
    places = [run / "shrink/narrowed/sums.json", run / "shrink/sums.json"]
    sums = read_json(next(file for file in places if file.exists()))
    options = read_yaml(run / "options.yml")
    return {
        "name": name,
        "scale": options["space"].get("scale", 2),
        "steps": options["steps"],
        "threads": options["threads"],
        "precision": options["precision"],
        "form": options["reparameterize"] or "plain",
        "ms": [round(result["cost"][key], 2) for key in ("original", "budget", "result")],
        "params": [result["params"][key] for key in ("original", "distilled")],
        "psnr": {
            stage: {data: round(figures["psnr"], 6) for data, figures in sets.items()}
            for stage, sets in result["quality"].items()
        },
        "replaced": result["replaced"],
        "sums": {key: sums[key] for key in ("pearson", "spearman")},
    }


if __name__ == "__main__":
    main()
