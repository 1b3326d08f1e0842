"""The logs of a run, checked on reading: metrics.jsonl and alphas.jsonl."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from srnas.errors import UserError, one_line
from srnas.files import read_json_lines

Rows = list[dict[str, Any]]


class _Metrics(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]
    step: int


class _Alphas(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]
    step: int
    epoch: int
    genotype: dict[str, Any]
    alphas: dict[str, list[float]]
    probabilities: NotRequired[dict[str, list[float]]]
    candidates: NotRequired[dict[str, list[str]]]
    expected_macs_per_pixel: NotRequired[float]


_METRICS, _ALPHAS = TypeAdapter(_Metrics), TypeAdapter(_Alphas)
_NUMBERS = TypeAdapter(dict[str, float], config=ConfigDict(strict=True))


def read_metrics(file: Path) -> Rows:
    """Read metrics.jsonl: numbers by name, with the "step" that they belong to.

    Returns:
        The rows; [] if there is no such file.

    Raises:
        UserError: The file is broken, or a row has no step or a value that is no number.
    """
    rows = read_json_lines(file)
    for number, row in enumerate(rows, 1):
        _check(_METRICS, row, file, number)
        _check(_NUMBERS, row, file, number)
    return rows


def read_alphas(file: Path) -> Rows:
    """Read alphas.jsonl, see `srnas.engine.search.search`; one row an epoch.

    Returns:
        The rows; [] if there is no such file.

    Raises:
        UserError: The file is broken, a row lacks something or has it in another form, or two rows
            have alphas of different supernets.
    """
    rows = read_json_lines(file)
    for number, row in enumerate(rows, 1):
        _check(_ALPHAS, row, file, number)
    for number, row in enumerate(rows, 1):
        if _sizes(row["alphas"]) != _sizes(rows[-1]["alphas"]):
            raise UserError(f"{file}: rows {number} and {len(rows)} are of different supernets")
    return rows


def _sizes(alphas: dict[str, list[float]]) -> dict[str, int]:
    return {label: len(row) for label, row in alphas.items()}


def _check(adapter: TypeAdapter[Any], row: dict[str, Any], file: Path, number: int) -> None:
    try:
        adapter.validate_python(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = one_line(".".join(map(str, first["loc"])), 100)
        raise UserError(f"{file}: row {number}: {place}: {first['msg']}") from error
