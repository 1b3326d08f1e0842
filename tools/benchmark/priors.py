"""Do the alphas of a search help a sampled search? Simulated on the shipped table.

    .venv/bin/python tools/benchmark/priors.py [--searches 40]

A training is its network's PSNR in the table plus noise of 0.03 dB. The log-probability of a
network under the alphas of a search of the study (imdn_x2_study.jsonl.gz), standardized, is
one more feature of the model. Writes datasets/imdn_x2_priors.csv: the mean percentile, and the one
that nine tenths of the searches exceed, by the number of trainings.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srnas.choice.features import Features
from srnas.engine.posterior import Posterior
from srnas.engine.sample import sample_genotypes
from srnas.score_table import Table, read_table
from srnas.search_parts import SampledOptions
from srnas.spaces import open_choices, space_class
from srnas.table.study import Searched, read_searched

DATA = Path(__file__).parents[2] / "datasets"
ARMS = ("drnas", "sa_gelu", "single_darts", "darts")
COUNTS = (8, 12, 16, 20, 24)
WEIGHTS = (1.0, 3.0)  # of the feature
NOISE = 0.03  # dB
AT_ONCE = 2

Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=40, help="for each set of alphas")
    searches = parser.parse_args().searches
    table = read_table(DATA / "imdn_x2.csv.gz")
    space = table.about["space"]
    features = Features(open_choices(space))
    rows_of = zip(*table.choices.values(), strict=True)
    read = space_class(table.space).read_choices
    picks = [read(dict(zip(table.choices, row, strict=True))) for row in rows_of]
    x = np.array([features(one) for one in picks])
    psnr = np.array([row.psnr for row in table.rows])
    index = {row.genotype: number for number, row in enumerate(table.rows)}
    starts = []
    for seed in range(searches):
        drawn = sample_genotypes(space, SampledOptions().random, seed)
        starts.append([index[str(one)] for one in drawn])
    found = read_searched([DATA / "imdn_x2_study.jsonl.gz"])
    rows = [["alphas", "weight", "trainings", "mean", "tenth"]]
    settings = [("none", 0.0), *((arm, weight) for arm in ARMS for weight in WEIGHTS)]
    for arm, weight in settings:
        given = [one for one in found if one.arm == arm] or [None] * 5
        ends: dict[int, list[float]] = {count: [] for count in COUNTS}
        for number, one in enumerate(given):
            extra = weight * known_of(one, table) if one else np.zeros(len(x))
            for seed in range(searches):
                features_of = np.hstack([x, extra[:, None]])
                course = simulate(features_of, psnr, starts[seed], 1000 * number + seed)
                for count, percentile in course:
                    ends[count].append(percentile)
        for count, values in ends.items():
            tenth = f"{np.quantile(values, 0.1):.2f}"
            rows.append([arm, f"{weight:g}", str(count), f"{np.mean(values):.2f}", tenth])
            print(*rows[-1])
    with (DATA / "imdn_x2_priors.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def known_of(search: Searched, table: Table) -> Array:
    """Return the log-probability of each network of the table, standardized."""
    names = open_choices(table.about["space"]).competing
    total = np.zeros(len(table.rows))
    for label, row in search.probabilities.items():
        logs = dict(zip(names[label].names, np.log(np.maximum(row, 1e-12)), strict=True))
        total += [logs[name] for name in table.choices[label]]
    return (total - total.mean()) / total.std()


def simulate(x: Array, psnr: Array, first: list[int], seed: int) -> Iterator[tuple[int, float]]:
    """Yield the percentile of the network that a sampled search holds for best, by trainings."""
    generator = np.random.default_rng(seed)
    percentiles = 100 * (stats.rankdata(psnr) - 1) / (len(psnr) - 1)
    defaults, taken = SampledOptions(), list(first)
    while True:
        scores = psnr[taken] + [
            np.random.default_rng([seed, number]).normal(0, NOISE) for number in taken
        ]
        posterior = Posterior(x[taken], scores, defaults.ratio)
        if len(taken) in COUNTS:
            yield len(taken), float(percentiles[(x @ posterior.mean).argmax()])
        if len(taken) >= max(COUNTS):
            return
        for _ in range(AT_ONCE):
            drawn = x @ posterior.draw(generator)
            drawn[taken] = -np.inf
            taken.append(int(drawn.argmax()))


if __name__ == "__main__":
    main()
