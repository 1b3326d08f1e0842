"""The choice of alternatives for a budget, by an integer linear program."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from srnas.shrinking.alternatives import Alternative


def choose(
    alternatives: Sequence[Alternative],
    losses: Sequence[float],
    costs: Sequence[float],
    most: float,
) -> list[int] | None:
    """Choose alternatives with the smallest sum of losses.

    minimize sum_a loss_a z_a subject to sum_a cost_a z_a <= most, and for each choice of the space
    sum z_a <= 1 over the alternatives that decide it, with z_a in {0, 1}.

    Args:
        alternatives: The alternatives.
        losses: Loss of each.
        costs: What each adds to the cost of the network; negative if it spares.
        most: The largest sum of costs.

    Returns:
        Numbers of the chosen ones, ascending; None if no choice fits.
    """
    labels = sorted({label for one in alternatives for label in one.covers})
    covered = np.array([[label in one.covers for one in alternatives] for label in labels], float)
    scale = max(map(abs, losses)) or 1.0, max(map(abs, costs)) or 1.0
    found = milp(
        np.array(losses) / scale[0],
        integrality=np.ones(len(alternatives)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(covered, -np.inf, 1),
            LinearConstraint(np.array([costs]) / scale[1], -np.inf, most / scale[1]),
        ],
        options={"mip_rel_gap": 0.0},
    )
    return None if found.x is None else [int(n) for n in np.flatnonzero(found.x > 0.5)]


def least(alternatives: Sequence[Alternative], costs: Sequence[float]) -> float:
    """Return the smallest sum of costs that a choice can have."""
    chosen = choose(alternatives, costs, costs, 0.0)
    assert chosen is not None
    return sum(costs[number] for number in chosen)
