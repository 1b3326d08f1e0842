"""Does the order of a choice's alphas say which candidate is better?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from srnas.choice import Genotype


class Substitution(NamedTuple):
    """candidates, in descending order of alpha; their alphas; the scores with each.

    tau: Kendall's rank correlation (tau-b) of alphas and scores: 1 if the alphas order the
    candidates as the scores do, -1 if the other way round, nan if either are all equal.
    """

    candidates: list[str]
    alphas: list[float]
    scores: list[float]
    tau: float


def substitute(
    genotype: Genotype,
    label: str,
    candidates: Sequence[str],
    alphas: Sequence[float],
    score: Callable[[Genotype], float],
) -> Substitution:
    """Score a genotype with each of one label's candidates in turn (SA-DARTS's probe of
    operator ranking).

    candidates, alphas: of that label, (N,) each, in the same order.
    score: the larger the better, such as an accuracy from NAS-Bench-201 or a PSNR.
    """
    from scipy.stats import kendalltau  # takes a second to import

    ranked = sorted(zip(candidates, alphas, strict=True), key=lambda pair: -pair[1])
    scores = [
        score(replace(genotype, choices={**genotype.choices, label: name})) for name, _ in ranked
    ]
    names, values = map(list, zip(*ranked, strict=True))
    return Substitution(names, values, scores, float(kendalltau(values, scores).statistic))
