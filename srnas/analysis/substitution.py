"""Does the order of a choice's alphas say which candidate is better?"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from srnas.choice import Genotype
from srnas.errors import UserError, did_you_mean
from srnas.spaces import SPACES


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

    label: a position's, as in the supernet's alphas; an edge's is its node's and its input's
        number, "cell/2<-0".
    candidates, alphas: of that label, (N,) each, in the same order.
    score: the larger the better, such as an accuracy from NAS-Bench-201 or a PSNR.

    Raises UserError if the genotype has no operation at the label.
    """
    from scipy.stats import kendalltau  # takes a second to import

    ranked = sorted(zip(candidates, alphas, strict=True), key=lambda pair: -pair[1])
    scores = [score(_with_operation(genotype, label, name)) for name, _ in ranked]
    names, values = map(list, zip(*ranked, strict=True))
    return Substitution(names, values, scores, float(kendalltau(values, scores).statistic))


def _with_operation(genotype: Genotype, label: str, name: str) -> Genotype:
    """The genotype with the candidate `name` at one label."""
    space = SPACES[genotype.space]
    choices = copy.deepcopy(genotype.flat(space).choices)
    positions = {key: choice for key, choice in choices.items() if isinstance(choice, str)}
    edges = {
        f"{node}<-{pair[1]}": pair
        for node in choices.keys() - positions.keys()
        for pair in choices[node]
        if isinstance(pair, list)  # a link has numbers
    }
    if label in edges:
        edges[label][0] = name
    elif label in positions:
        choices[label] = name
    else:
        hint = did_you_mean(label, [*positions, *edges])
        raise UserError(f"{label!r}: the genotype has no operation of this label; {hint}")
    return replace(genotype, choices=getattr(space, "write_choices", dict)(choices))
