"""What a search's alphas and probabilities do over its epochs.

A choice is one label: its N logits (`alphas`) and the weights that its candidates get
(`probabilities`), as lists of floats, the form in which a search's alphas.jsonl holds them.
"""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import entr

from srnas.choice import Position, Primitive

Choices = Mapping[str, Sequence[float]]
SETTLING_EPOCHS = 5  # a genotype that changed so shortly before the end has not converged


class Convergence(NamedTuple):
    """epoch: the first from which the genotype stays the last one.

    converged: whether that is more than five epochs before the last one.
    """

    epoch: int
    converged: bool


def convergence(rows: Sequence[Mapping[str, Any]]) -> Convergence:
    """When a search settled: SA-DARTS's convergence epoch.

    rows: of alphas.jsonl, in order; "epoch" and "genotype" are read. What the genotype was
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
    """One epoch in figures, each over all choices given.

    top2_gap_min, top2_gap_mean: of a choice's `top2_gap` (SA-DARTS, Table 1, has the least).
    entropy: -sum p ln p of a choice, in nats; mean over choices.
    alpha_std, probability_std: standard deviation (divided by N) over a choice's candidates;
        mean over choices. alpha_std_all: over all logits at once.
    parameter_free_share: the part of the labels in both `genotype` and `parameter_free` (see
        `parameter_free_candidates`) whose operation is one of the latter.

    candidates: label -> names in the order of the probabilities. If a choice has one named
        "none", top2_gap_min_without_none and top2_gap_mean_without_none leave it out, as
        DARTS does when it derives; the other probabilities stay as they are.

    Raises ValueError where there is nothing to take a mean over.
    """
    gaps = {"": [top2_gap(p) for p in probabilities.values()]}
    if any("none" in names for names in (candidates or {}).values()):
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
        "parameter_free_share": fmean(chosen),
    }


def top2_gap(probabilities: Sequence[float]) -> float:
    """The largest minus the second largest; of a single candidate, its probability."""
    first, second = sorted([*probabilities, 0.0], reverse=True)[:2]
    return first - second


def parameter_free_candidates(positions: Mapping[str, Position]) -> dict[str, set[str]]:
    """label -> the names of the candidates without parameters: skip, pooling, none.

    They are built with stride 1 and BatchNorm without scale and shift, so pooling followed by
    BatchNorm, and a skip that becomes a convolution where the stride is 2, count among them.
    """
    return {
        label: {
            name
            for name, primitive in position.candidates.items()
            if _is_parameter_free(primitive, position)
        }
        for label, position in positions.items()
    }


def _is_parameter_free(primitive: Primitive, position: Position) -> bool:
    with torch.device("meta"):  # takes no memory and no random numbers
        module = primitive.build(position.in_channels, position.out_channels, affine=False)
    return next(module.parameters(), None) is None
