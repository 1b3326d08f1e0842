"""A table against unseen trainings, or against trainings under another protocol."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srnas.errors import UserError
from srnas.score_table import Table
from srnas.table.results import Result
from srnas.table.surrogate import Quality, measured

RESAMPLES = 2000
LEVEL = 0.95
LEAST = 4  # genotypes for a rank correlation

Array = NDArray[np.float64]


def check(table: Table, results: Sequence[Result]) -> dict[str, Any]:
    """Compare a table's predictions with measurements.

    Args:
        results: Results of `build`. Of the table's own protocol, only the genotypes count that the
            table has no training of.

    Returns:
        "genotypes", their number; "same_protocol"; for each set and "val", in "sets": "spearman"
        and "tau", as {"value", "low", "high"} with 95% intervals by bootstrap over the genotypes;
        and, under the same protocol, "mean_error" (mean absolute), "rms_error" and "bias" (mean of
        predicted - measured) in dB; "rows" with "genotype", "predicted" and "measured" by set.

    Raises:
        UserError: There are too few genotypes, the results lack a set, or a genotype is not in the
            table.
    """
    same = {r.protocol for r in results} == {table.about.get("report", {}).get("protocol")}
    known = {row.genotype for row in table.rows if row.measured is not None}
    if same:
        results = [r for r in results if str(r.genotype(table.space)) not in known]
    if len({str(r.genotype(table.space)) for r in results}) < LEAST:
        which = "that the table has not seen" if same else "in the results"
        raise UserError(f"{table.path}: fewer than {LEAST} genotypes {which}; train some more")
    names = ["val", *table.rows[0].sets]
    found = {name: measured(results, table.space, name, "psnr") for name in names}
    rows = [table.find(genotype) for genotype in found["val"].genotypes]
    predicted = {
        name: np.array([row.psnr if name == "val" else row.sets[name] for row in rows])
        for name in names
    }
    return {
        "genotypes": len(rows),
        "same_protocol": same,
        "sets": {name: _compare(predicted[name], found[name].values, same) for name in names},
        "rows": [
            {
                "genotype": row.genotype,
                "predicted": {name: float(predicted[name][i]) for name in names},
                "measured": {name: float(found[name].values[i]) for name in names},
            }
            for i, row in enumerate(rows)
        ],
    }


def _compare(predicted: Array, values: Array, same: bool) -> dict[str, Any]:
    quality = Quality.of(predicted, values)
    result: dict[str, Any] = {
        "spearman": _interval(predicted, values, lambda x, y: stats.spearmanr(x, y).statistic),
        "tau": _interval(predicted, values, lambda x, y: stats.kendalltau(x, y).statistic),
    }
    if same:
        bias = float((predicted - values).mean())
        result |= {"mean_error": quality.mean_error, "rms_error": quality.rms_error, "bias": bias}
    return result


def _interval(x: Array, y: Array, figure: Callable[[Array, Array], float]) -> Mapping[str, float]:
    """Return a figure of pairs, with its interval by bootstrap over the pairs."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        picked = rng.integers(len(x), size=len(x))
        if len(np.unique(picked)) > 2:
            drawn.append(figure(x[picked], y[picked]))
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(figure(x, y)), "low": float(low), "high": float(high)}
