"""The searches of a study, judged against a table: intervals over seeds, and a random rival."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.latency.table import LatencyTable
from srnas.score_table import Table
from srnas.spaces import open_choices
from srnas.table.study import Searched, Study

LEVEL = 0.95  # of intervals
GOOD = 90.0  # percentile from which on a genotype is in the upper tenth
LIMITS = {"percentile": (0, 100), "regret": (0, math.inf), "regret_at_macs": (0, math.inf)}
SIMULATED = 2_000  # draws of the random rival

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean with its interval.

    Attributes:
        mean: The mean.
        low, high: Ends of the interval; NaN for a single value.
    """

    mean: float
    low: float
    high: float


def interval(
    values: Sequence[float],
    count: int = 1,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean and its 95% interval by Student's t, over the values (the seeds).

    Args:
        values: The values.
        count: Number of intervals that are to hold together; each then has the level
            1 - 0.05 / count (Bonferroni).
        limits: The smallest and the largest possible mean.
    """
    data = np.array(values)
    if len(data) < 2 or float(np.ptp(data)) == 0:
        nothing = float("nan") if len(data) < 2 else float(data[0])
        return Interval(float(data.mean()), nothing, nothing)
    found = stats.ttest_1samp(data, 0).confidence_interval(1 - (1 - LEVEL) / count)
    low, high = np.clip([found.low, found.high], *limits)
    return Interval(float(data.mean()), float(low), float(high))


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests for their number.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979. A NaN, of a test that could not be made, stays one and does not count.
    """
    known = [n for n in np.argsort(chances) if not math.isnan(chances[n])]
    adjusted, largest = [float("nan")] * len(chances), 0.0
    for rank, n in enumerate(known):
        largest = max(largest, min(1.0, chances[n] * (len(known) - rank)))
        adjusted[n] = largest
    return adjusted


def collect(
    study: Study,
    results: Sequence[Searched],
    table: Table,
    training_seconds: float,
    latency: LatencyTable | None = None,
) -> list[dict[str, Any]]:
    """Judge the arms of a study.

    Args:
        results: Results of `run`; those of other versions of an arm are left out.
        table: The table of the space.
        training_seconds: Processor time of one training of the table, for the random rival.
        latency: Times of the candidates, to predict those of the networks.

    Returns:
        For each arm with results, by name of the figure: number of "seeds"; `Interval` of
        "percentile", "regret" (dB), "regret_at_macs" (dB), "tau" (Kendall's, between the logarithm
        of a genotype's probability and its PSNR in the table); mean "macs", "settled" (epoch),
        "largest" (mean of the positions' largest probabilities), "minutes" (processor time);
        "good", the minutes after which searches stayed in the upper tenth, of those that did; with
        `latency` "ms" (mean of the networks' predicted times); and
        "rival", the percentile of the best of as many random genotypes as could have been trained
        in the same time, chosen by one noisy training each; "lead", the `Interval` of the
        percentile minus that, where those of all arms hold together; "p", the probability of
        such a lead by luck (t-test over the seeds, two-sided), by `holm` over the arms.
    """
    found: dict[str, list[Searched]] = defaultdict(list)
    for result in results:
        if result.arm in study.arms and result.identity == study.identity(result.arm):
            found[result.arm].append(result)
    arms = [arm for arm in study.arms if found[arm]]
    rows = [
        {"arm": arm, **_judge(found[arm], table, training_seconds, latency, len(arms))}
        for arm in arms
    ]
    for row, chance in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = chance
    return rows


def _judge(
    results: Sequence[Searched],
    table: Table,
    training_seconds: float,
    latency: LatencyTable | None,
    arms: int,
) -> dict[str, Any]:
    genotypes = [Genotype(table.space, r.genotypes[-1]) for r in results]
    judged = [table.judge(genotype) for genotype in genotypes]
    times = [r.cpu_seconds for r in results if r.cpu_seconds is not None]
    seconds = float(np.median(times)) if times else float("nan")
    draws = max(1, int(seconds / training_seconds)) if times else 1
    taus = [agreement(result.probabilities, table) for result in results]
    by_luck = rival(table, draws)
    percentiles = [j["percentile"] for j in judged]
    lead = [percentile - by_luck for percentile in percentiles]
    return {
        "seeds": len(results),
        **{
            name: interval([j[name] for j in judged], limits=limits)
            for name, limits in LIMITS.items()
        },
        "tau": interval(taus, limits=(-1, 1)),
        "macs": float(np.mean([table.find(genotype).macs for genotype in genotypes])),
        "settled": float(np.mean([r.settled for r in results])),
        "epochs": len(results[0].genotypes),
        "largest": float(np.mean([max(row) for r in results for row in r.probabilities.values()])),
        "minutes": seconds / 60,
        "good": [m for m in (minutes_to_stay(r, table) for r in results) if m is not None],
        **({"ms": float(np.mean([latency.predict(g) for g in genotypes]))} if latency else {}),
        "draws": draws,
        "rival": by_luck,
        "lead": interval(lead, arms),
        "p": float(stats.ttest_1samp(lead, 0).pvalue) if np.ptp(lead) > 0 else math.nan,
    }


def agreement(probabilities: Mapping[str, Sequence[float]], table: Table) -> float:
    """Return Kendall's tau between log-probabilities of all genotypes and their PSNR.

    A genotype's log-probability is the sum over its positions; NaN where all are equal.
    """
    names = _candidates(table, list(probabilities))
    scores = np.zeros(len(table.rows))
    for label, row in probabilities.items():
        logs = dict(zip(names[label], np.log(np.maximum(row, 1e-12)), strict=True))
        scores += [logs[name] for name in table.choices[label]]
    psnr = [row.psnr for row in table.rows]
    return float(stats.kendalltau(np.round(scores, 9), psnr).statistic)


def minutes_to_stay(result: Searched, table: Table) -> float | None:
    """Return the processor time until a search's genotype is, and stays, in the upper tenth.

    Minutes, with epochs of equal length; None if it does not end there, or its time is unknown.
    """
    judged = [table.judge(Genotype(table.space, one)) for one in result.genotypes]
    first = max((i for i, j in enumerate(judged) if j["percentile"] < GOOD), default=-1) + 1
    if first == len(judged) or result.cpu_seconds is None:
        return None
    return result.cpu_seconds / 60 * (first + 1) / len(judged)


def rival(table: Table, draws: int) -> float:
    """Return the mean of `rivals`: what random search at equal cost reaches on average."""
    return float(rivals(table, draws).mean())


def rivals(table: Table, draws: int, searches: int = SIMULATED) -> Array:
    """Simulate random searches: the percentiles of the best of several random genotypes.

    Each genotype's training gives its PSNR in the table plus the noise that the table's report
    states; the one with the highest result is kept.

    Args:
        table: The table.
        draws: Number of genotypes of each search.
        searches: Number of searches.

    Returns:
        Percentiles by the table, one for each search: (searches,).
    """
    rng = np.random.default_rng(0)
    psnr = np.array([row.psnr for row in table.rows])
    percentiles = 100 * (stats.rankdata(psnr) - 1) / max(1, len(psnr) - 1)
    noise = float(table.about.get("report", {}).get("val", {}).get("noise", 0.0))
    picked = rng.integers(len(psnr), size=(searches, draws))
    seen = psnr[picked] + rng.normal(0, noise, picked.shape)
    best: Array = percentiles[picked[np.arange(searches), seen.argmax(1)]]
    return best


def show(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the judged arms as a Markdown table."""
    heads = ["arm", "seeds", "percentile", "regret, dB", "at equal MACs, dB", "GMACs"]
    heads += ["ms"] if any("ms" in row for row in rows) else []
    heads += ["Kendall's tau", "largest p", "settled", "CPU minutes", "in the upper tenth"]
    heads += ["best of k random", "minus best of k, all arms", "p"]
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] * len(heads)) + " |"]
    for row in rows:
        good = row["good"]
        cells = [
            row["arm"],
            str(row["seeds"]),
            _cell(row["percentile"], 1),
            _cell(row["regret"], 3),
            _cell(row["regret_at_macs"], 3),
            f"{row['macs'] / 1e9:.2f}",
            *([f"{row['ms']:.1f}"] if "ms" in row else []),
            _cell(row["tau"], 2),
            f"{row['largest']:.2f}",
            f"{row['settled'] + 1:.0f} of {row['epochs']}",
            f"{row['minutes']:.1f}",
            f"{len(good)}, after {np.median(good):.1f}" if good else "0",
            f"{row['rival']:.1f} (k = {row['draws']})",
            _cell(row["lead"], 1),
            show_chance(row["p"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def show_chance(p: float) -> str:
    """Return a p-value as text."""
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"


def _cell(value: Interval, digits: int) -> str:
    if math.isnan(value.mean):
        return "-"
    if math.isnan(value.low):
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _candidates(table: Table, labels: Sequence[str]) -> dict[str, list[str]]:
    choices = open_choices(table.about["space"]).competing
    missing = [label for label in labels if label not in choices]
    if missing or not labels:
        raise UserError(f"{table.path}: no positions {', '.join(missing)} in its space")
    return {label: choices[label].names for label in labels}
