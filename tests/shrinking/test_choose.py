"""The choice for a budget, against all combinations."""

from itertools import product

import numpy as np
import pytest

from srnas.shrinking.alternatives import Alternative
from srnas.shrinking.choose import choose, least


def problem(seed):
    """Three blocks: one of two widths, or else one of two operations at each of two places."""
    generator = np.random.default_rng(seed)
    found = []
    for block in range(3):
        places = [f"b{block}/c1", f"b{block}/c2"]
        covers = frozenset([f"b{block}/width", *places])
        found += [Alternative({f"b{block}/width": w}, f"b{block}", covers) for w in (1, 2)]
        for place in places:
            found += [Alternative({place: o}, place, frozenset([place])) for o in "xy"]
    losses = generator.uniform(0.1, 1, len(found)).tolist()
    costs = (-generator.uniform(1, 10, len(found))).tolist()
    return found, losses, costs


def best(found, losses, costs, most):
    """The smallest loss over all combinations."""
    options = []
    for block in range(3):
        mine = [n for n, one in enumerate(found) if next(iter(one.covers)).startswith(f"b{block}")]
        wide, ops = mine[:2], mine[2:]
        both = [[*a, *b] for a, b in product(([], ops[:1], ops[1:2]), ([], ops[2:3], ops[3:]))]
        options.append([*both, *([n] for n in wide)])
    sums = [
        (sum(losses[n] for n in numbers), sum(costs[n] for n in numbers))
        for numbers in ([n for part in chosen for n in part] for chosen in product(*options))
    ]
    return min((loss for loss, cost in sums if cost <= most), default=None), min(c for _, c in sums)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_the_choice_has_the_smallest_loss_of_all_that_fit(seed, share):
    found, losses, costs = problem(seed)
    most = share * least(found, costs)
    expected, cheapest = best(found, losses, costs, most + 1e-9)
    assert least(found, costs) == pytest.approx(cheapest)
    numbers = choose(found, losses, costs, most + 1e-9)
    assert sum(losses[n] for n in numbers) == pytest.approx(expected)
    assert sum(costs[n] for n in numbers) <= most + 1e-6


def test_a_budget_below_the_cheapest_choice_has_none():
    found, losses, costs = problem(0)
    assert choose(found, losses, costs, least(found, costs) - 0.1) is None


def test_nothing_is_chosen_where_nothing_need_be_spared():
    found, losses, costs = problem(0)
    assert choose(found, losses, costs, 0.0) == []
