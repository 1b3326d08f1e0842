"""Statistics of alphas and probabilities over the epochs of a search.

A choice is one label of the supernet, with its N logits (`alphas`) and the resulting weights of
its candidates (`probabilities`). Both are lists of floats, as in the alphas.jsonl of a search.
"""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from srnas.choice import Choice

Choices = Mapping[str, Sequence[float]]  # values of each choice, by label
SETTLING_EPOCHS = 5  # a search whose genotype changed within the last five epochs has not converged


class Convergence(NamedTuple):
    """The convergence of a search.

    Attributes:
        epoch: First epoch from which on the genotype equals the final one.
        converged: Whether this is more than five epochs before the last one.
    """

    epoch: int
    converged: bool


def convergence(rows: Sequence[Mapping[str, Any]]) -> Convergence:
    """Return the convergence epoch of a search, as defined by SA-DARTS.

    Args:
        rows: Rows of alphas.jsonl in order, of which "epoch" and "genotype" are used. The genotype
            before the first row is unknown, so the first row counts as a change.
    """
    settled = rows[-1]["epoch"]
    for row in reversed(rows):
        if row["genotype"] != rows[-1]["genotype"]:
            break
        settled = row["epoch"]
    return Convergence(settled, rows[-1]["epoch"] - settled > SETTLING_EPOCHS)


def summarize(
    probabilities: Choices,
    alphas: Choices,
    genotype: Mapping[str, Any],
    parameter_free: Mapping[str, Collection[str]],
    candidates: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float]:
    """Summarize one epoch by statistics over all given choices.

    Args:
        probabilities: Candidate weights by label.
        alphas: Logits by label.
        genotype: Chosen operation by label.
        parameter_free: Names of the parameter-free candidates by label, see
            `parameter_free_candidates`.
        candidates: Candidate names by label, in the order of the probabilities. They are needed for
            the statistics without "none".

    Returns:
        Statistics by name:

        - top2_gap_min, top2_gap_mean: Minimum and mean of `top2_gap` over the choices. Table 1 of
          SA-DARTS reports the minimum.
        - top2_gap_min_without_none, top2_gap_mean_without_none: The same without the candidate
          "none", which DARTS also ignores when it derives a genotype. The other probabilities are
          not renormalized. Present only if a choice has this candidate.
        - entropy: Mean over the choices of -sum p ln p, in nats.
        - alpha_std, probability_std: Mean over the choices of the standard deviation across
          candidates (normalized by N).
        - alpha_std_all: Standard deviation of all logits together.
        - parameter_free_share: Fraction of labels with a parameter-free operation, among those in
          both `genotype` and `parameter_free`.

    Raises:
        ValueError: There is nothing to average over.
    """
    candidates = candidates or {}
    gaps = {"": [top2_gap(p) for p in probabilities.values()]}
    if any("none" in names for names in candidates.values()):
        gaps["_without_none"] = [
            top2_gap(
                [p for p, name in zip(probabilities[label], names, strict=True) if name != "none"]
            )
            for label, names in candidates.items()
        ]
    chosen = [
        genotype[label] in free for label, free in parameter_free.items() if label in genotype
    ]
    return {
        **{f"top2_gap_min{suffix}": min(values) for suffix, values in gaps.items()},
        **{f"top2_gap_mean{suffix}": fmean(values) for suffix, values in gaps.items()},
        "entropy": fmean([entr(p).sum() for p in probabilities.values()]),
        "alpha_std": fmean([np.std(a) for a in alphas.values()]),
        "alpha_std_all": float(np.std(np.concatenate(list(alphas.values())))),
        "probability_std": fmean([np.std(p) for p in probabilities.values()]),
        **({"parameter_free_share": fmean(chosen)} if chosen else {}),
    }


def top2_gap(probabilities: Sequence[float]) -> float:
    """Return the largest minus the second largest probability.

    With a single candidate, the gap is its probability.
    """
    first, second = sorted([*probabilities, 0.0], reverse=True)[:2]
    return first - second


def parameter_free_candidates(choices: Mapping[str, Choice]) -> dict[str, set[str]]:
    """Return the names of the alternatives without parameters by label, see `OpChoice`.

    Choices that never have such alternatives are left out.
    """
    free = {label: choice.parameter_free() for label, choice in choices.items()}
    return {label: names for label, names in free.items() if names is not None}
