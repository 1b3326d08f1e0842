"""The choice of alternatives for a budget, by integer linear programs."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from srnas.shrinking.alternatives import Alternative


def total(
    alternatives: Sequence[Alternative], costs: Sequence[float], own: float, numbers: Sequence[int]
) -> float:
    """Predict the cost of a network with some alternatives.

    The costs of alternatives of single modules add up. One of the whole network, such as fewer
    channels everywhere, changes the others by the ratio by which it changes the network.

    Args:
        alternatives: All alternatives.
        costs: What each adds to the cost of the network; negative if it spares.
        own: Cost of the network.
        numbers: Numbers of those that it has.
    """
    share = 1.0
    for number in numbers:
        if not alternatives[number].scope:
            share *= (own + costs[number]) / own
    return share * (own + sum(costs[n] for n in numbers if alternatives[n].scope))


def choose(
    alternatives: Sequence[Alternative],
    losses: Sequence[float],
    costs: Sequence[float],
    own: float,
    most: float,
) -> list[int] | None:
    """Choose alternatives with the smallest sum of losses.

    For each alternative of the whole network and for none: minimize sum_a loss_a z_a subject to
    `total` <= most, and for each choice of the space sum z_a <= 1 over the alternatives that decide
    it, with z_a in {0, 1} for the alternatives of single modules.

    Args:
        alternatives: The alternatives.
        losses: Loss of each.
        costs: What each adds to the cost of the network; negative if it spares.
        own: Cost of the network.
        most: The largest cost.

    Returns:
        Numbers of the chosen ones, ascending; None if no choice fits.
    """
    parts = [n for n, one in enumerate(alternatives) if one.scope]
    best: tuple[float, list[int]] | None = None
    for whole in ([], *([n] for n, one in enumerate(alternatives) if not one.scope)):
        share = total(alternatives, costs, own, whole) / own
        found = _program(alternatives, parts, losses, costs, most / share - own)
        if found is not None:
            numbers = sorted([*whole, *found])
            loss = sum(losses[n] for n in numbers)
            if best is None or loss < best[0]:
                best = loss, numbers
    return best and best[1]


def least(alternatives: Sequence[Alternative], costs: Sequence[float], own: float) -> float:
    """Return the smallest cost that a choice can have."""
    parts = [n for n, one in enumerate(alternatives) if one.scope]
    chosen = _program(alternatives, parts, costs, costs, 0.0)
    assert chosen is not None
    whole: list[list[int]] = [[], *([n] for n, one in enumerate(alternatives) if not one.scope)]
    return min(total(alternatives, costs, own, [*chosen, *one]) for one in whole)


def _program(
    alternatives: Sequence[Alternative],
    numbers: Sequence[int],
    losses: Sequence[float],
    costs: Sequence[float],
    most: float,
) -> list[int] | None:
    """Choose among some alternatives, whose costs add up."""
    if not numbers:
        return [] if most >= 0 else None
    found = [alternatives[n] for n in numbers]
    labels = sorted({label for one in found for label in one.covers})
    covered = np.array([[label in one.covers for one in found] for label in labels], float)
    own_losses, own_costs = (np.array([row[n] for n in numbers]) for row in (losses, costs))
    scales = [max(np.abs(row).max(), 1e-300) for row in (own_losses, own_costs)]
    solved = milp(
        own_losses / scales[0],
        integrality=np.ones(len(found)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(covered, -np.inf, 1),
            LinearConstraint(own_costs[None] / scales[1], -np.inf, most / scales[1]),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        return None
    return [n for n, taken in zip(numbers, solved.x > 0.5, strict=True) if taken]
