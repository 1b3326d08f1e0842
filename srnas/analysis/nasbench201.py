"""The NAS-Bench-201 table: the accuracy of every cell, looked up instead of trained.

A CSV file (gzipped, if its name ends in .gz), a line a cell: `arch` and the mean top-1 accuracy
on each test set after 200 epochs. The official benchmark files are pickles, which could execute
code; they are not read.
"""

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

from srnas.errors import UserError

COLUMNS = {
    "cifar10": "cifar10_test",
    "cifar100": "cifar100_test",
    "imagenet16-120": "imagenet16_120_test",
}
OFFICIAL = (".pth", ".pickle", ".pbz2")


def load_table(path: Path) -> dict[str, dict[str, float]]:
    """arch -> data set -> accuracy in percent. UserError if `path` is no such table."""
    if path.is_dir() or path.suffix in OFFICIAL:
        raise UserError(
            f"{path}: the official benchmark is a pickle, which could execute code: not read; "
            "datasets/README.md shows how to convert it to CSV"
        )
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; see datasets/README.md for the table, name yours by --table"
        )
    table = {}
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                table[row["arch"]] = {name: float(row[key]) for name, key in COLUMNS.items()}
    except (OSError, EOFError, ValueError, TypeError, csv.Error, KeyError) as error:
        wanted = ", ".join(["arch", *COLUMNS.values()])
        raise UserError(
            f"{path}: not a CSV table of {wanted} (after {len(table)} rows: {error})"
        ) from error
    if not table:
        raise UserError(f"{path}: holds no cells")
    return table


def look_up(table: Mapping[str, dict[str, float]], arch: str, path: Path) -> dict[str, float]:
    """A cell's accuracies in the table that `path` held; UserError if it is not in there."""
    if arch not in table:
        raise UserError(f"{path}: holds {len(table):,} cells, but not {arch}")
    return table[arch]
