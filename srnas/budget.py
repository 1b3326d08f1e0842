"""The best alternatives under utilities, within a budget."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from srnas.choice import Choices, OpenChoices
from srnas.choice.choice import OneOf
from srnas.errors import UserError
from srnas.latency.table import read_latency_table

Array = NDArray[np.float64]


class Budget:
    """Costs of alternatives, which add up.

    Args:
        choices: The open choices.
        latency: File of `srnas latency table`; without one, costs are the MACs per pixel of the
            searched parts.

    Attributes:
        costs: Cost of each alternative by label.
        base: Cost of what is not searched.

    Raises:
        UserError: The costs of a choice do not add up, or the table is of another space.
    """

    def __init__(self, choices: OpenChoices, latency: Path | None) -> None:
        others = [choice.label for choice in choices.whole if not isinstance(choice, OneOf)]
        if others:
            raise UserError(f"sampled.most: costs of {others[0]} do not add up; leave it out")
        self.base = 0.0
        self.costs: dict[str, Sequence[float]] = {}
        self.names = {choice.label: choice.names for choice in choices.whole}
        table = read_latency_table(latency) if latency else None
        for choice in choices.whole:
            if table:
                shares = table.costs(choice)
                self.costs[choice.label] = [table.base_ms * (share - 1) for share in shares]
            else:
                self.costs[choice.label] = choice.costs()
        if table:
            self.base = table.base_ms

    def of(self, choices: Choices) -> float:
        """Return the cost of a genotype."""
        names = (self.names[str(place)].index(str(value)) for place, value in choices.items())
        return self.base + sum(
            self.costs[str(place)][n] for place, n in zip(choices, names, strict=True)
        )


def strongest(
    choices: OpenChoices, rows: Mapping[str, Array], budget: Budget | None, most: float | None
) -> Choices:
    """Return the alternatives with the largest sum of utilities.

    Args:
        choices: The open choices.
        rows: Utilities (N,) by label.
        budget: Costs.
        most: Largest cost; None for any.

    Raises:
        UserError: Nothing is so cheap.
    """
    if budget is None or most is None:
        return choices.strongest({label: torch.from_numpy(row) for label, row in rows.items()})
    labels = [choice.label for choice in choices.whole]
    utilities = np.concatenate([rows[label] for label in labels])
    costs = np.concatenate([budget.costs[label] for label in labels])
    one = np.zeros((len(labels), len(costs)))
    ends = np.cumsum([0, *(len(rows[label]) for label in labels)])
    for number in range(len(labels)):
        one[number, ends[number] : ends[number + 1]] = 1
    solved = milp(
        -utilities,
        integrality=np.ones(len(costs)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one, 1, 1),
            LinearConstraint(costs[None], -np.inf, most - budget.base),
        ],
    )
    if solved.x is None:
        cheapest = budget.base + sum(min(budget.costs[label]) for label in labels)
        raise UserError(f"sampled.most: nothing costs {most:.4g}; the least is {cheapest:.4g}")
    picks = {}
    for number, choice in enumerate(choices.whole):
        index = int(solved.x[ends[number] : ends[number + 1]].argmax())
        picks[choice.place] = choice.alternatives()[index]
    return picks
