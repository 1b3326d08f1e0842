"""Proximity to a genotype (DARTS-PRIME)."""

from typing import Literal

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS


@REGULARIZERS.register("proximity")
class Proximity:
    """|p - P(p)| / 2, summed over alpha matrices and links: p the relaxed weights, P(p) the
    genotype that they stand for (`Supernet.project`), taken anew at each step as a constant.

    norm: "l2", the Euclidean norm of a matrix, as in the released code; "l2sq", its square.
    The paper's weight grows in a straight line from 0 to 0.1.
    """

    def __init__(self, *, norm: Literal["l2", "l2sq"] = "l2") -> None:
        self.norm = norm

    def __call__(self, supernet: Supernet) -> Tensor:
        weights = supernet.strengths()
        target = supernet.project(weights)
        gaps = {label: weights[label] - target[label].detach() for label in weights}
        return distance(supernet, gaps, self.norm) / 2


def distance(supernet: Supernet, gaps: dict[str, Tensor], norm: str) -> Tensor:
    """The norm (or its square) of each alpha matrix's rows, and of each link's row, summed."""
    groups: dict[str, list[Tensor]] = {}
    for label, gap in gaps.items():
        group = label.rpartition("/")[0] if label in supernet.positions else f"link {label}"
        groups.setdefault(group, []).append(gap.square().sum())
    squares = [torch.stack(rows).sum() for rows in groups.values()]
    if norm == "l2sq":
        return torch.stack(squares).sum()
    # The root has no finite slope at 0, where there is nothing to pull.
    return torch.stack([torch.sqrt(s) if s.item() > 0 else s for s in squares]).sum()
