"""A test of whether the order of a choice's alphas reflects the quality of its candidates."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from srnas.choice import Genotype
from srnas.errors import UserError, did_you_mean
from srnas.spaces import space_class


class Substitution(NamedTuple):
    """Scores of a genotype with each of a label's candidates.

    Attributes:
        candidates: Candidate names in descending order of alpha.
        alphas: Alpha of each candidate.
        scores: Score of the genotype with each candidate.
        tau: Kendall's rank correlation (tau-b) of alphas and scores: 1 if both give the same order,
            -1 if the orders are reversed, nan if all alphas or all scores are equal.
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
    """Score a genotype with each candidate of one label in turn.

    SA-DARTS examines operator ranking in this way.

    Args:
        genotype: Genotype to modify; it is not changed itself.
        label: Label of a position, as in the supernet's alphas. The label of an edge consists of
            its node and the number of its input, such as "cell/2<-0".
        candidates: Names of the label's N candidates.
        alphas: Their alphas, in the same order.
        score: Function that scores a genotype; larger is better, such as an accuracy from
            NAS-Bench-201 or a PSNR.

    Raises:
        UserError: The genotype has no operation at the label.
    """
    from scipy.stats import kendalltau  # takes a second to import

    ranked = sorted(zip(candidates, alphas, strict=True), key=lambda pair: -pair[1])
    scores = [score(_with_operation(genotype, label, name)) for name, _ in ranked]
    names, values = map(list, zip(*ranked, strict=True))
    return Substitution(names, values, scores, float(kendalltau(values, scores).statistic))


def _with_operation(genotype: Genotype, label: str, name: str) -> Genotype:
    """Return the genotype with the candidate `name` at one label."""
    space = space_class(genotype.space)
    choices = copy.deepcopy(space.read_choices(genotype.choices))
    positions = {str(place): place for place, choice in choices.items() if isinstance(choice, str)}
    edges = {
        str(place.edge(pair[1])): pair
        for place, pairs in choices.items()
        if str(place) not in positions
        for pair in pairs
        if isinstance(pair, list)  # links hold numbers
    }
    if label in edges:
        edges[label][0] = name
    elif label in positions:
        choices[positions[label]] = name
    else:
        hint = did_you_mean(label, [*positions, *edges])
        raise UserError(f"{label!r}: the genotype has no operation of this label; {hint}")
    return replace(genotype, choices=space.write_choices(choices))
