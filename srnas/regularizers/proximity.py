"""Proximity to a genotype (DARTS-PRIME)."""

from typing import Literal

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("proximity")
class Proximity(Regularizer):
    """|p - P(p)| / 2, summed over alpha matrices and links.

    p are the relaxed weights, and P(p) is the genotype derived from them (`OpenChoices.project`),
    which is recomputed at every step and treated as a constant. In the paper the weight grows
    linearly from 0 to 0.1.

    Args:
        norm: "l2", the Euclidean norm of a matrix, as in the released code, or its square "l2sq".
    """

    def __init__(self, *, norm: Literal["l2", "l2sq"] = "l2") -> None:
        self.norm = norm

    def __call__(self, supernet: Supernet) -> Tensor:
        weights = supernet.strengths()
        target = supernet.choices.project(weights)
        gaps = {label: weights[label] - target[label].detach() for label in weights}
        return distance(supernet, gaps, self.norm) / 2


def distance(supernet: Supernet, gaps: dict[str, Tensor], norm: str) -> Tensor:
    """Return the sum of the norms of the alpha matrices and of every row outside a matrix.

    Args:
        gaps: Differences (N,) by label.
        norm: "l2" for Euclidean norms, "l2sq" for their squares.
    """
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for label, gap in gaps.items():
        choice = supernet.choices.competing.get(label)
        group = ("matrix", choice.place.group) if choice else ("row", label)
        groups.setdefault(group, []).append(gap.square().sum())
    squares = [torch.stack(rows).sum() for rows in groups.values()]
    if norm == "l2sq":
        return torch.stack(squares).sum()
    # The gradient of the square root is infinite at 0, where the distance needs no gradient.
    return torch.stack([torch.sqrt(s) if s.item() > 0 else s for s in squares]).sum()
