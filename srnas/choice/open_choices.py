"""The open choices of a network, and the derivation of discrete choices from weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from srnas.choice.place import Place
from srnas.choice.primitive import Candidates

NONE = "none"  # the candidate that removes an edge
Choices: TypeAlias = dict[Place, Any]
"""The choices of a genotype by place: for a position, the name of a candidate; for a link, the
numbers of its inputs, counted from 1; for a node, [candidate, input] pairs with inputs from 0."""


@dataclass(frozen=True)
class Position:
    """A searched operation, with one row of alphas: one logit per candidate.

    Attributes:
        place: Where it is.
        candidates: The candidate operations by name, in the order of the logits.
        in_channels, out_channels: Channels of the first module at this place. In a network of
            cells, later modules at the same place may have more.
    """

    place: Place
    candidates: Candidates
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class Link:
    """Searched inputs: `keep` of `count` earlier outputs.

    Attributes:
        place: Where it is.
        count: Number of earlier outputs.
        keep: Number of inputs that the derived network takes.
    """

    place: Place
    count: int
    keep: int


@dataclass(frozen=True)
class Node:
    """A node of a cell: the sum over a searched operation on each of its `count` edges.

    Attributes:
        place: Where it is.
        count: Number of edges.
        keep: Number of edges that the derived network keeps (DARTS: 2), none of them with the
            candidate "none". None keeps all edges, "none" included (NAS-Bench-201).
    """

    place: Place
    count: int
    keep: int | None

    @property
    def edges(self) -> list[Place]:
        """Places of its edges, in the order of the inputs."""
        return [self.place.edge(index) for index in range(self.count)]


@dataclass
class OpenChoices:
    """Everything that a network leaves open, by label (the place as a string).

    Attributes:
        positions: The searched operations, including the edges of nodes.
        links: The searched inputs.
        nodes: The nodes of cells.
    """

    positions: dict[str, Position] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether anything is open."""
        return bool(self.positions or self.links or self.nodes)

    def strongest(self, weights: Mapping[str, Tensor], threshold: float | None = None) -> Choices:
        """Return the strongest choices; among equal ones, the first.

        Args:
            weights: Weights (N,) by label, of positions, links and nodes with edge weights.
            threshold: Minimum probability of an edge, see `strongest_edges`.
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
        """Return the chosen candidate of each position and each kept edge, by label."""
        chosen = {
            str(place): choice for place, choice in choices.items() if str(place) in self.positions
        }
        for node in self.nodes.values():
            chosen |= {str(node.place.edge(index)): name for name, index in choices[node.place]}
        return chosen

    @torch.no_grad()
    def project(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the strongest choices in the form of weights.

        The chosen candidate of a position has weight 1, the others 0; on an edge that is not kept,
        all candidates have weight 0. Each of the k chosen inputs of a link has weight 1/k. Edge
        weights of nodes, and links that keep all inputs, are returned unchanged.

        Args:
            weights: Weights (N,) by label, as for `strongest`.
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
    """Return the edges of a node that a genotype keeps; among equal ones, the first.

    A node that keeps all edges has the most probable candidate on each of them, in order. Otherwise
    each edge is represented by its most probable candidate other than "none", and the `keep` edges
    with the largest probability times edge weight are kept, strongest first (DARTS, Sec. 2.4;
    PC-DARTS, Sec. 3.3).

    Args:
        node: The node.
        names: Names of the candidates of each edge.
        probabilities: Weights (N,) of each edge.
        edge_weights: Weights of the edges, (count,); None for equal ones.
        threshold: Edges with a smaller probability are dropped, except the strongest (FairDARTS);
            has no effect on nodes that keep all edges.

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
