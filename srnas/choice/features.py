"""What a linear model knows of a genotype: its alternatives, and what they have in common.

A feature of the first kind is 1 where a genotype has an alternative at a position, as choices
encode themselves. Those of the second kind count over all positions of a kind: a candidate by its
name; what candidates declare (the fields of a dataclass, such as `separable` or `kernel_size`); a
width or depth as a share of the largest. They tell of alternatives that no network has had yet. All
of them are sums over the positions, so each alternative has one utility under a linear model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from srnas.choice.choice import Choice
from srnas.choice.depth import DepthChoice
from srnas.choice.open_choices import Choices, OpenChoices
from srnas.choice.operation import OpChoice
from srnas.choice.width import WidthChoice

Array = NDArray[np.float64]


class Features:
    """Turns genotypes into vectors, and coefficients into the utility of each alternative.

    Args:
        choices: The open choices.

    Attributes:
        names: Name of each feature.
    """

    def __init__(self, choices: OpenChoices) -> None:
        self.choices = choices
        lengths: dict[str, int] = {}
        for choice in choices.whole:
            rows = choice.encode(choice.alternatives()[0])
            lengths |= {label: len(row) for label, row in rows.items()}
        self.lengths = lengths
        shared = {label: _shared(choices[label], size) for label, size in lengths.items()}
        names = list(dict.fromkeys(n for row in shared.values() for one in row for n in one))
        self.names = [f"{label}[{i}]" for label, size in lengths.items() for i in range(size)]
        self.names += names
        own = np.eye(sum(lengths.values()))
        common = np.zeros((len(own), len(names)))
        for row, one in enumerate(one for rows in shared.values() for one in rows):
            for name, value in one.items():
                common[row, names.index(name)] = value
        having = [
            sum(any(name in one for one in rows) for rows in shared.values()) for name in names
        ]
        self.matrix = np.hstack([own, common / np.sqrt(np.array(having, float))])

    def __call__(self, choices: Choices) -> Array:
        """Return the features (F,) of a genotype."""
        rows: dict[str, list[float]] = {}
        for choice in self.choices.whole:
            rows |= choice.encode(choices[choice.place])
        has = np.concatenate([np.array(rows[label], float) for label in self.lengths])
        features: Array = has @ self.matrix
        return features

    def utilities(self, coefficients: Array) -> dict[str, Array]:
        """Return what each alternative adds under a linear model, by label."""
        ends = np.cumsum(list(self.lengths.values()))[:-1]
        pieces = np.split(self.matrix @ coefficients, ends)
        return dict(zip(self.lengths, pieces, strict=True))


def _shared(choice: Choice, size: int) -> list[Mapping[str, float]]:
    """Return the features of each alternative that count over positions."""
    if isinstance(choice, OpChoice):
        found = []
        for name, candidate in choice.candidates.items():
            declared = dict(_declared(candidate))
            found.append({f"is {name}": 1.0, **declared})
        return _without_constants(found)
    if isinstance(choice, WidthChoice | DepthChoice):
        values = choice.alternatives()
        kind = choice.place.node
        return [{f"share of {kind}": value / max(values)} for value in values]
    return [{} for _ in range(size)]


def _declared(candidate: object) -> Iterator[tuple[str, float]]:
    if not is_dataclass(candidate):
        return
    for field in fields(candidate):
        value = getattr(candidate, field.name)
        if isinstance(value, bool | int):
            yield f"{field.name} {value}", 1.0


def _without_constants(rows: list[dict[str, float]]) -> list[Mapping[str, float]]:
    """Leave out what all alternatives of a position have."""
    common = set.intersection(*(set(row) for row in rows)) if len(rows) > 1 else set()
    return [{k: v for k, v in row.items() if k not in common} for row in rows]
