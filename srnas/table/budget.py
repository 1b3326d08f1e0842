"""What a search by k random trainings finds, simulated from trainings that are done."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnas.errors import UserError
from srnas.table.build import check_protocol
from srnas.table.fit import predicted_genotypes
from srnas.table.protocol import Protocol
from srnas.table.results import Result
from srnas.table.surrogate import Encoder, models

COUNTS = (3, 6, 12, 24, 48, 96, 192)
DRAWS = 200
MODEL = "additive"

Array = NDArray[np.float64]


def budget(
    protocol: Protocol,
    results: Sequence[Result],
    counts: Sequence[int] = COUNTS,
    draws: int = DRAWS,
) -> list[dict[str, Any]]:
    """Simulate two searches that train k random networks once.

    The first keeps the network with the highest PSNR on the validation images. The second fits one
    number for each candidate at each position to the k figures, and takes the genotype with the
    highest sum in the whole space, trained or not. Both are judged by the same model fitted to the
    trainings that the search did not see, so that no search is judged by its own noise.

    Args:
        results: Results of `build`; of each genotype the training with the smallest seed counts.
        counts: Values of k; those that leave less than half of the trainings to judge are left out.
        draws: Number of searches for each k.

    Returns:
        For each k: "trainings", "minutes" (of k trainings, by the median of their seconds), and for
        "best_seen" and "model" the percentile reached among all genotypes: "mean", and "low" and
        "high", which contain nine of ten searches.

    Raises:
        UserError: There are fewer trainings than twice the smallest k, or some of another protocol.
    """
    check_protocol(results, protocol, Path("results"))
    space = protocol.training(0).space
    first: dict[str, Result] = {}
    for result in sorted(results, key=lambda r: r.seed):
        first.setdefault(str(result.genotype(space.name)), result)
    kept = list(first.values())
    possible = [k for k in counts if 2 * k <= len(kept)]
    if not possible:
        raise UserError(
            f"{len(kept)} genotypes trained, {2 * min(counts)} are the least; train some more"
        )
    encoder = Encoder(space)
    genotypes = [r.genotype(space.name) for r in kept]
    seen = encoder(genotypes)
    everything = encoder(predicted_genotypes(space, genotypes))
    rows = {row.tobytes(): number for number, row in enumerate(everything)}
    places = np.array([rows[row.tobytes()] for row in seen])
    values = np.array([r.scores["val"]["psnr"] for r in kept])
    seconds = float(np.median([r.seconds for r in kept]))

    def predictor(of: NDArray[np.int64]) -> Callable[[Array], Array]:
        predict: Callable[[Array], Array] = (
            models(encoder)[MODEL].fit(seen[of], values[of], np.ones(len(of))).predict
        )
        return predict

    rng = np.random.default_rng(0)
    found = []
    for count in possible:
        reached: dict[str, list[float]] = {"best_seen": [], "model": []}
        for _ in range(draws):
            order = rng.permutation(len(kept))
            trained, others = order[:count], order[count:]
            judge, model = predictor(others), predictor(trained)
            judged = judge(everything)
            for name, picked in (
                ("best_seen", places[trained[values[trained].argmax()]]),
                ("model", model(everything).argmax()),
            ):
                worse = int((judged < judged[picked]).sum())
                reached[name].append(100 * worse / max(1, len(judged) - 1))
        found.append(
            {
                "trainings": count,
                "minutes": count * seconds / 60,
                **{name: _spread(sample) for name, sample in reached.items()},
            }
        )
    return found


def show(rows: Sequence[dict[str, Any]]) -> str:
    """Return what `budget` found as a Markdown table."""
    lines = [
        "| trainings | minutes | best one seen | best by the additive model |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [str(row["trainings"]), f"{row['minutes']:.0f}"]
        for name in ("best_seen", "model"):
            figure = row[name]
            cells.append(f"{figure['mean']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(sample: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(sample, [0.05, 0.95])
    return {"mean": float(np.mean(sample)), "low": float(low), "high": float(high)}
