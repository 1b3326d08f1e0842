"""Tables: figures of genotypes, measured or predicted, which judge a search.

A table is a CSV file (gzipped if its name ends in .gz). Its first line is `#` and JSON: format,
space, protocol, and how the predictions were made. Then one line a genotype, without its measured
figures if it was not trained.
"""

import bisect
import csv
import gzip
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from srnas.choice import Genotype, ScoreTable
from srnas.documents import load_json
from srnas.errors import UserError, one_line, short
from srnas.files import read_start, read_text, write_atomic
from srnas.spaces import space_class

FORMAT = "srnas-table"
VERSION = 1
LIMITS = ("params", "macs", "latency")


@dataclass(frozen=True)
class Row:
    """A genotype in a table.

    Attributes:
        genotype: The genotype as text, `str(genotype)`.
        psnr: Predicted PSNR on the validation images, in dB.
        measured: Mean measured PSNR on them in dB, None if it was not trained.
        seeds: Number of trainings behind `measured`.
        sets: Predicted PSNR in dB by benchmark set.
        params: Number of parameters.
        macs: MACs of one HR image of 1280x720.
        latency: Milliseconds an image in ONNX Runtime, None if it was not measured or predicted.
    """

    genotype: str
    psnr: float
    measured: float | None
    seeds: int
    sets: dict[str, float]
    params: int
    macs: int
    latency: float | None


@dataclass(frozen=True)
class Table:
    """A table of one space.

    Attributes:
        about: The JSON of the first line.
        rows: The genotypes.
        path: File of the table.
    """

    about: dict[str, Any]
    rows: Sequence[Row]
    path: Path

    @property
    def space(self) -> str:
        """Name of the space."""
        return str(self.about["space"]["name"])

    @cached_property
    def by_genotype(self) -> dict[str, Row]:
        """The rows by genotype."""
        return {row.genotype: row for row in self.rows}

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """The candidates that the rows choose, by position, in the order of the rows."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            for word in row.genotype.split():
                label, _, name = word.partition("=")
                found.setdefault(label, []).append(name)
        return found

    def find(self, genotype: Genotype) -> Row:
        """Return the row of a genotype.

        Raises:
            UserError: It belongs to another space, or the table does not contain it.
        """
        if genotype.space != self.space:
            raise UserError(
                f"{self.path}: a table of space {self.space!r}; the genotype is of "
                f"{genotype.space!r}"
            )
        if str(genotype) not in self.by_genotype:
            raise UserError(f"{self.path}: holds {len(self.rows):,} genotypes, but not {genotype}")
        return self.by_genotype[str(genotype)]

    def best(self, limits: dict[str, float] | None = None) -> Row:
        """Return the genotype with the highest PSNR within limits.

        Args:
            limits: Largest params, macs or latency, by name.

        Raises:
            UserError: No genotype is within the limits, or the table has no such figure.
        """
        kept = list(self.rows)
        for name, limit in (limits or {}).items():
            kept = [row for row in kept if _cost(row, name, self.path) <= limit]
        if not kept:
            raise UserError(f"{self.path}: no genotype is that small; raise a limit")
        return max(kept, key=lambda row: row.psnr)

    def front(self, cost: str = "macs") -> list[Row]:
        """Return the Pareto front of PSNR and a cost (params, macs or latency), cheapest first."""
        found: list[Row] = []
        for row in sorted(self.rows, key=lambda r: (_cost(r, cost, self.path), -r.psnr)):
            if not found or row.psnr > found[-1].psnr:
                found.append(row)
        return found

    def judge(self, genotype: Genotype) -> dict[str, float]:
        """Return the figures that judge a genotype.

        Returns:
            "psnr" in dB; "percentile", the share of worse genotypes in percent; "regret", the dB
            that the best genotype is better; "regret_at_macs", the same for the best of those
            with at most as many MACs.
        """
        row = self.find(genotype)
        scores, macs, best = self._ranks
        below = bisect.bisect_left(scores, row.psnr)
        ties = bisect.bisect_right(scores, row.psnr) - below - 1
        within = best[bisect.bisect_right(macs, row.macs) - 1]
        return {
            "psnr": row.psnr,
            "percentile": 100 * (below + ties / 2) / max(1, len(scores) - 1),
            "regret": scores[-1] - row.psnr,
            "regret_at_macs": within - row.psnr,
        }

    @cached_property
    def _ranks(self) -> tuple[list[float], list[int], list[float]]:
        """All PSNR in order; all MACs in order; the best PSNR up to each of these MACs."""
        ordered = sorted(self.rows, key=lambda row: row.macs)
        best, highest = [], float("-inf")
        for row in ordered:
            highest = max(highest, row.psnr)
            best.append(highest)
        return sorted(row.psnr for row in self.rows), [row.macs for row in ordered], best


def open_table(space: str, file: Path) -> ScoreTable:
    """Open a table of a space: one of srnas, or the tabular benchmark that the space itself reads.

    Raises:
        UserError: The file is missing, or no table of this space.
    """
    if not is_table(file) and (space_class(space).has_table() or file.is_file()):
        return space_class(space).open_table(file)
    table = read_table(file)
    if table.space != space:
        raise UserError(f"{file}: a table of space {table.space!r}, not of {space!r}")
    return table.judge


def is_table(file: Path) -> bool:
    """Return whether a file begins as a table of srnas does; OSError if the file cannot be read."""
    try:
        start = read_start(file, 1000)
    except (UserError, IsADirectoryError):
        return False
    return start.startswith(b"# {") and FORMAT.encode() in start


def read_table(file: Path) -> Table:
    """Read a table.

    Raises:
        UserError: The file is missing or no table of srnas.
        OSError: The file cannot be read.
    """
    if not file.exists():
        raise UserError(f"{file}: no such file; srnas table fit writes tables")
    first, _, lines = read_text(file).partition("\n")
    try:
        about = load_json(first.removeprefix("#"))
        if about["format"] != FORMAT or about["version"] != VERSION:
            raise ValueError(f"format {short(about['format'])} {short(about['version'])}")
        if not isinstance(about["space"], dict) or not isinstance(about["space"]["name"], str):
            raise ValueError("its space has no name")
        rows = [_row(values, about["sets"]) for values in csv.DictReader(io.StringIO(lines))]
    except (ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise UserError(
            f"{file}: not a table of srnas table fit ({one_line(str(error), 200)})"
        ) from error
    if not rows:
        raise UserError(f"{file}: holds no genotypes")
    return Table(about, rows, file)


def write_table(file: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write a table; equal tables give equal bytes."""
    sets = list(rows[0].sets)
    about = {"format": FORMAT, "version": VERSION, **about, "sets": sets}
    stream = io.StringIO()
    stream.write(f"# {json.dumps(about)}\n")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("genotype", "psnr", "measured", "seeds", *sets, *LIMITS))
    for row in rows:
        writer.writerow(
            (
                row.genotype,
                f"{row.psnr:.4f}",
                "" if row.measured is None else f"{row.measured:.4f}",
                row.seeds,
                *(f"{row.sets[name]:.3f}" for name in sets),
                row.params,
                row.macs,
                "" if row.latency is None else f"{row.latency:.3f}",
            )
        )
    content = stream.getvalue().encode()
    write_atomic(file, gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)


def _row(values: dict[str, str], sets: Sequence[str]) -> Row:
    return Row(
        values["genotype"],
        _finite(values["psnr"]),
        _number(values["measured"]),
        int(values["seeds"]),
        {name: _finite(values[name]) for name in sets},
        int(values["params"]),
        int(values["macs"]),
        _number(values["latency"]),
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} in a row")
    return value


def _number(text: str) -> float | None:
    return _finite(text) if text else None


def _cost(row: Row, name: str, path: Path) -> float:
    value: float | None = getattr(row, name)
    if value is None:
        raise UserError(f"{path}: has no {name}; srnas table fit takes it from a latency table")
    return value
