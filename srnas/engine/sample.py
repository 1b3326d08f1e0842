"""Samples of genotypes, and all genotypes of a space."""

import random
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

from srnas.choice import Choices, Genotype, OpenChoices, Place
from srnas.errors import UserError
from srnas.score_table import Table
from srnas.spaces import SpaceLike, check_space, open_choices, space_class

TRIES = 100  # draws for each genotype that is kept


def sample_genotypes(
    space: SpaceLike,
    count: int,
    seed: int,
    keep: Callable[[Genotype], bool] | None = None,
) -> list[Genotype]:
    """Draw different genotypes, stratified over each choice.

    Every choice is dealt from a deck of its alternatives, which is shuffled again whenever it is
    empty. In a space of N candidates at each position, N genotypes in a row thus contain each
    candidate once at each position, as in a Latin hypercube. A genotype that was dealt before is
    skipped.

    Args:
        count: Number of genotypes; fewer if the space has fewer.
        seed: Seed; the first genotypes of a longer sample are those of a shorter one.
        keep: Returns whether a genotype may be drawn; by default any.

    Raises:
        UserError: Too few may be drawn.
    """
    space = check_space(space)
    choices = open_choices(space)
    total = count_genotypes(choices)
    dealt = islice(_dealt(space.name, choices, seed), min(TRIES * count, total))
    found = list(islice(filter(keep, dealt) if keep else dealt, count))
    if len(found) < min(count, total):
        raise UserError(f"sample: only {len(found)} of {total:,} genotypes are within its limits")
    return found


def spread_genotypes(table: Table, count: int) -> list[Genotype]:
    """Return genotypes of a table at equal steps of its ranking, from the worst to the best.

    Raises:
        UserError: Its space has links or cells, whose choices a table does not spell out.
    """
    choices = open_choices(table.about["space"])
    if not all(choice.adds_up for choice in choices.whole):
        raise UserError(f"{table.path}: only tables of spaces of plain positions can be spread")
    ranked = sorted(table.rows, key=lambda row: row.psnr)
    steps = max(1, count - 1)
    places = dict.fromkeys(round(i * (len(ranked) - 1) / steps) for i in range(count))
    words = (ranked[place].genotype.split() for place in places)
    return [Genotype(table.space, dict(word.split("=") for word in row)) for row in words]


def all_genotypes(space: SpaceLike) -> Iterator[Genotype]:
    """Yield all genotypes, the last position changing fastest."""
    space = check_space(space)
    alternatives = _alternatives(open_choices(space))
    for picks in product(*alternatives.values()):
        yield _genotype(space.name, dict(zip(alternatives, picks, strict=True)))


def count_genotypes(choices: OpenChoices) -> int:
    """Return the number of genotypes."""
    total = 1
    for options in _alternatives(choices).values():
        total *= len(options)
    return total


def _dealt(space: str, choices: OpenChoices, seed: int) -> Iterator[Genotype]:
    generator = random.Random(seed)
    alternatives = _alternatives(choices)
    decks: dict[Place, list[object]] = {place: [] for place in alternatives}
    seen = set()
    while True:
        picks: Choices = {}
        for place, options in alternatives.items():
            if not decks[place]:
                decks[place] = generator.sample(options, len(options))
            picks[place] = decks[place].pop()
        genotype = _genotype(space, picks)
        if str(genotype) not in seen:
            seen.add(str(genotype))
            yield genotype


def _alternatives(choices: OpenChoices) -> dict[Place, list[Any]]:
    """Return the alternatives of each choice."""
    return {choice.place: choice.alternatives() for choice in choices.whole}


def _genotype(space: str, picks: Choices) -> Genotype:
    return Genotype(space, space_class(space).write_choices(picks))
