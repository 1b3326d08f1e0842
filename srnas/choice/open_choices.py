"""The open choices of a network, and the derivation of discrete choices from weights."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from srnas.choice.choice import Choice
from srnas.choice.place import Place

Choices: TypeAlias = dict[Place, Any]
"""The values of a genotype by place, see the kinds of choices."""


class OpenChoices(Mapping[str, Choice]):
    """Everything that a network leaves open, by label, in the order in which it was asked for.

    The operations on the edges of a node are among them, besides the node that they belong to.
    """

    def __init__(self) -> None:
        self._all: dict[str, Choice] = {}
        self._inner: set[str] = set()

    def add(self, choice: Choice) -> None:
        """Add a choice; modules at the same place must ask for the same."""
        known = self._all.setdefault(choice.label, choice)
        assert known.agrees(choice), f"{choice.label!r} is asked for with two different choices"
        self._inner |= {part.label for part in choice.parts()}

    def __getitem__(self, label: str) -> Choice:
        return self._all[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def whole(self) -> list[Choice]:
        """The choices that a genotype has a value for: all except parts of others."""
        return [choice for label, choice in self._all.items() if label not in self._inner]

    @property
    def competing(self) -> dict[str, Choice]:
        """The choices that the relaxation of the search weighs, by label."""
        return {label: choice for label, choice in self._all.items() if choice.competes}

    @property
    def others(self) -> dict[str, Choice]:
        """The choices whose rows, if they have any, are relaxed by softmax, by label."""
        return {label: choice for label, choice in self._all.items() if not choice.competes}

    def strongest(self, weights: Mapping[str, Tensor], threshold: float | None = None) -> Choices:
        """Return the strongest choices; among equal ones, the first.

        Args:
            weights: Weights (N,) by label.
            threshold: Minimum probability of an edge, see `srnas.choice.node.strongest_edges`.
        """
        return {choice.place: choice.strongest(weights, threshold) for choice in self.whole}

    def chosen(self, choices: Choices) -> dict[str, str]:
        """Return the name of the chosen alternative of each competing choice that is kept."""
        names: dict[str, str] = {}
        for choice in self.whole:
            names |= choice.chosen(choices[choice.place])
        return names

    @torch.no_grad()
    def project(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the strongest choices in the form of weights.

        A chosen alternative has weight 1, the others 0; on an edge that is not kept, all candidates
        have weight 0. Each of the k chosen inputs has weight 1/k. Edge weights of nodes, and inputs
        that are all kept, are returned unchanged.

        Args:
            weights: Weights (N,) by label, as for `strongest`.
        """
        choices = self.strongest(weights)
        target: dict[str, list[float]] = {}
        for choice in self.whole:
            target |= choice.weights(choices[choice.place])
        return {
            label: row.new_tensor(target[label]) if label in target else row.detach().clone()
            for label, row in weights.items()
        }
