"""Lookup of NAS-Bench-201 accuracies, which replaces training the cells.

The table is a CSV file (gzipped if its name ends in .gz) with one line per cell: `arch`, and the
mean top-1 accuracy on each test set after 200 epochs of training. The official benchmark files are
not read, because they are pickles, which could execute code.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from srnas.errors import UserError
from srnas.files import read_text

COLUMNS = {
    "cifar10": "cifar10_test",
    "cifar100": "cifar100_test",
    "imagenet16-120": "imagenet16_120_test",
}
OFFICIAL = (".pth", ".pickle", ".pbz2")


def load_table(path: Path) -> dict[str, dict[str, float]]:
    """Read a table of accuracies.

    Returns:
        Test accuracies in percent by cell (`arch`), then by data set.

    Raises:
        UserError: `path` is missing or is not such a table.
        OSError: It cannot be read.
    """
    if path.is_dir() or path.suffix in OFFICIAL:
        raise UserError(
            f"{path}: the official benchmark is a pickle, which could execute code: not read; "
            "datasets/README.md shows how to convert it to CSV"
        )
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; see datasets/README.md for the table, name yours by --table"
        )
    table: dict[str, dict[str, float]] = {}
    try:
        for row in csv.DictReader(io.StringIO(read_text(path))):
            table[row["arch"]] = {name: float(row[key]) for name, key in COLUMNS.items()}
    except (ValueError, TypeError, csv.Error, KeyError) as error:
        wanted = ", ".join(["arch", *COLUMNS.values()])
        raise UserError(
            f"{path}: not a CSV table of {wanted} (after {len(table)} rows: {error})"
        ) from error
    if not table:
        raise UserError(f"{path}: holds no cells")
    return table


def look_up(table: Mapping[str, dict[str, float]], arch: str, path: Path) -> dict[str, float]:
    """Return the accuracies of one cell by data set.

    Args:
        table: Table that `load_table` returned.
        arch: The cell.
        path: File of the table, for the error message.

    Raises:
        UserError: The table does not contain the cell.
    """
    if arch not in table:
        raise UserError(f"{path}: holds {len(table):,} cells, but not {arch}")
    return table[arch]
