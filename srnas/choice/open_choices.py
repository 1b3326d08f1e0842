"""The open choices of a network, and the discrete choices that weights stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from srnas.choice.place import Place
from srnas.choice.primitive import Candidates

NONE = "none"  # the candidate that cuts an edge
Choices: TypeAlias = dict[Place, Any]
"""What a genotype chose, by place: a candidate's name; for a link, the numbers (from 1) of its
inputs; for a node, [candidate, input] pairs with inputs from 0."""


@dataclass(frozen=True)
class Position:
    """A searched operation: one row of alphas, one logit a candidate.

    Attributes:
        in_channels, out_channels: Those of the first module at this place; the channels of a
            cell grow with its depth.
    """

    place: Place
    candidates: Candidates
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class Link:
    """Searched inputs: `keep` of `count` earlier outputs."""

    place: Place
    count: int
    keep: int


@dataclass(frozen=True)
class Node:
    """A node of a cell: a searched operation on each of its `count` edges.

    Attributes:
        keep: How many edges the derived network keeps (DARTS: 2), none of them with the
            candidate "none"; None keeps all of them, "none" included (NAS-Bench-201).
    """

    place: Place
    count: int
    keep: int | None

    @property
    def edges(self) -> list[Place]:
        """The places of its edges, by input."""
        return [self.place.edge(index) for index in range(self.count)]


@dataclass
class OpenChoices:
    """Everything that a network leaves open, by label (`str` of the place).

    Attributes:
        positions: The searched operations, the edges of nodes among them.
        links: The searched inputs.
        nodes: The nodes of cells.
    """

    positions: dict[str, Position] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    def strongest(self, weights: Mapping[str, Tensor], threshold: float | None = None) -> Choices:
        """Return the strongest candidate of every position; of equal ones, the first.

        Args:
            weights: label -> (N,) weights of a position, link, or node with edge weights.
            threshold: See `strongest_edges`.
        """
        edges = {edge for node in self.nodes.values() for edge in node.edges}
        choices: Choices = {
            position.place: list(position.candidates)[int(weights[label].argmax())]
            for label, position in self.positions.items()
            if position.place not in edges
        }
        for label, link in self.links.items():
            ranked = weights[label].sort(descending=True, stable=True).indices
            choices[link.place] = [int(index) + 1 for index in ranked[: link.keep]]
        for label, node in self.nodes.items():
            names = [list(self.positions[str(edge)].candidates) for edge in node.edges]
            rows = [weights[str(edge)] for edge in node.edges]
            choices[node.place] = strongest_edges(node, names, rows, weights.get(label), threshold)
        return choices

    def operations(self, choices: Choices) -> dict[str, str]:
        """Return label -> chosen candidate of all operations, each kept edge by its own label."""
        chosen = {
            str(place): choice for place, choice in choices.items() if str(place) in self.positions
        }
        for node in self.nodes.values():
            chosen |= {str(node.place.edge(index)): name for name, index in choices[node.place]}
        return chosen

    @torch.no_grad()
    def project(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the strongest choices as weights.

        A chosen candidate has weight 1, the others 0; each chosen input of a link has 1 divided
        by their number. The edge weights of a node, and a link that keeps all inputs, stay as
        they are.

        Args:
            weights: label -> (N,) weights, as `strongest` takes them.
        """
        choices = self.strongest(weights)
        target = {label: torch.zeros_like(weights[label]) for label in self.positions}
        for label, name in self.operations(choices).items():
            target[label][list(self.positions[label].candidates).index(name)] = 1
        for label, link in self.links.items():
            if link.keep < link.count:
                target[label] = torch.zeros_like(weights[label])
                target[label][[number - 1 for number in choices[link.place]]] = 1 / link.keep
        return {label: target.get(label, row.detach().clone()) for label, row in weights.items()}


def strongest_edges(
    node: Node,
    names: Sequence[Sequence[str]],
    probabilities: Sequence[Tensor],
    edge_weights: Tensor | None = None,
    threshold: float | None = None,
) -> list[list[str | int]]:
    """Return the edges of a node that a genotype keeps; of equal ones, the first.

    A node that keeps all edges has each with its most probable candidate, in order. Otherwise an
    edge counts with its most probable candidate besides "none", and the `keep` edges with the
    largest probabilities (times their edge weights) are kept, strongest first (DARTS, Sec. 2.4;
    PC-DARTS, Sec. 3.3).

    Args:
        names: The candidates of each edge.
        probabilities: (N,) of each edge.
        edge_weights: (count,), or None for equal ones.
        threshold: Drops weaker edges than this (FairDARTS), except the strongest.

    Returns:
        [candidate, input] pairs.
    """
    ranked = []
    weights = [1.0] * node.count if edge_weights is None else edge_weights.tolist()
    for index, (candidates, row, weight) in enumerate(
        zip(names, probabilities, weights, strict=True)
    ):
        p = dict(zip(candidates, row.tolist(), strict=True))
        if node.keep is not None:
            p.pop(NONE, None)
        best = max(p, key=p.__getitem__)
        ranked.append((best, index, p[best], weight * p[best]))
    if node.keep is not None:
        ranked = sorted(ranked, key=lambda edge: -edge[3])[: node.keep]
        if threshold is not None:
            ranked = ranked[:1] + [edge for edge in ranked[1:] if edge[2] >= threshold]
    return [[best, index] for best, index, *_ in ranked]
