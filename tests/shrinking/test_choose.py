"""The choice for a budget, against all combinations."""

from itertools import product

import numpy as np
import pytest

from srnas.shrinking.alternatives import Alternative
from srnas.shrinking.choose import choose, least, total


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
    found += [Alternative({"all": w}, "", frozenset(["all"])) for w in (1, 2)]
    losses = generator.uniform(0.1, 1, len(found)).tolist()
    costs = (-generator.uniform(1, 10, len(found))).tolist()
    return found, losses, costs


OWN = 60.0


def best(found, losses, costs, most):
    """The smallest loss over all combinations, and the smallest cost."""
    options = []
    for block in range(3):
        mine = [n for n, one in enumerate(found) if next(iter(one.covers)).startswith(f"b{block}")]
        wide, ops = mine[:2], mine[2:]
        both = [[*a, *b] for a, b in product(([], ops[:1], ops[1:2]), ([], ops[2:3], ops[3:]))]
        options.append([*both, *([n] for n in wide)])
    sums = []
    for chosen in product(*options):
        loss, spent = (sum(row[n] for part in chosen for n in part) for row in (losses, costs))
        sums.append((loss, OWN + spent))
        for n in (-2, -1):  # the whole network becomes cheaper, and each of its parts as much
            sums.append((loss + losses[n], (OWN + spent) * (OWN + costs[n]) / OWN))
    return min((loss for loss, cost in sums if cost <= most), default=None), min(c for _, c in sums)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_the_choice_has_the_smallest_loss_of_all_that_fit(seed, share):
    found, losses, costs = problem(seed)
    most = OWN - share * (OWN - least(found, costs, OWN)) + 1e-9
    expected, cheapest = best(found, losses, costs, most)
    assert least(found, costs, OWN) == pytest.approx(cheapest)
    numbers = choose(found, losses, costs, OWN, most)
    assert sum(losses[n] for n in numbers) == pytest.approx(expected)
    assert total(found, costs, OWN, numbers) <= most + 1e-6


def test_the_program_may_take_an_alternative_of_the_whole_network():
    found, _, costs = problem(0)
    losses = [1.0] * (len(found) - 1) + [0.1]
    assert choose(found, losses, costs, OWN, OWN + costs[-1]) == [len(found) - 1]


def test_a_budget_below_the_cheapest_choice_has_none():
    found, losses, costs = problem(0)
    assert choose(found, losses, costs, OWN, least(found, costs, OWN) - 0.1) is None


def test_nothing_is_chosen_where_nothing_need_be_spared():
    found, losses, costs = problem(0)
    assert choose(found, losses, costs, OWN, OWN) == []
