"""Nodes of cells: the sum over edges, each a searched operation on one earlier output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, ClassVar

from torch import Tensor

from srnas.choice.choice import Choice, Context, Rows
from srnas.choice.edges import ChosenEdges, WeightedEdges
from srnas.choice.operation import OpChoice, named
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates
from srnas.errors import UserError, short
from srnas.primitives.batchnorm import BatchNorm2d

NONE = "none"  # the candidate that removes an edge


@dataclass(frozen=True)
class NodeChoice(Choice):
    """A node of a cell: the sum over a searched operation on each of `count` earlier outputs.

    A value lists [candidate, input] pairs, with inputs counted from 0.

    Attributes:
        place: Where it is.
        count: Number of edges.
        keep: Number of edges that the derived network keeps (DARTS: 2), none of them with the
            candidate "none". None keeps all edges, "none" included (NAS-Bench-201).
        tables: The candidates of each edge.
        channels: Channels of the inputs and of the output.
        strides: Stride of each edge.
    """

    place: Place
    count: int
    keep: int | None
    tables: Sequence[Candidates]
    channels: int
    strides: Sequence[int]
    competes: ClassVar[bool] = False

    @property
    def names(self) -> list[str]:
        """The numbers of the edges, which have weights with edge normalization."""
        return [str(index) for index in range(self.count)]

    def agrees(self, other: Choice) -> bool:
        """Return whether the other has as many edges, and keeps as many."""
        return isinstance(other, NodeChoice) and (other.count, other.keep) == (
            self.count,
            self.keep,
        )

    def parts(self) -> list[Choice]:
        """Return the operations on the edges, in the order of the inputs."""
        return [*self.edges]

    @property
    def edges(self) -> list[OpChoice]:
        """The operations on the edges, in the order of the inputs."""
        return [
            OpChoice(self.place.edge(index), table, self.channels, self.channels, stride)
            for index, (table, stride) in enumerate(zip(self.tables, self.strides, strict=True))
        ]

    def has_row(self, context: Context) -> bool:
        """Return whether its edges have weights: with edge normalization, if it drops some."""
        return context.edge_normalization and self.keep is not None

    def alternatives(self) -> list[list[list[Any]]]:
        """Return all sets of edges with all candidates."""
        names = [list(table) for table in self.tables]
        if self.keep is not None:
            names = [[name for name in row if name != NONE] for row in names]
        return [
            [[name, index] for name, index in zip(picks, indices, strict=True)]
            for indices in combinations(range(self.count), self.keep or self.count)
            for picks in product(*(names[index] for index in indices))
        ]

    def strongest(self, rows: Rows, threshold: float | None = None) -> list[list[Any]]:
        """Return the edges that a genotype keeps, see `strongest_edges`."""
        names = [edge.names for edge in self.edges]
        weights = [rows[edge.label] for edge in self.edges]
        return strongest_edges(self.keep, names, weights, rows.get(self.label), threshold)

    def encode(self, value: list[list[Any]]) -> dict[str, list[float]]:
        """Return 1 for the candidate of each kept edge."""
        chosen = self.chosen(value)
        return {
            edge.label: [float(chosen.get(edge.label) == name) for name in edge.names]
            for edge in self.edges
        }

    def chosen(self, value: list[list[Any]]) -> dict[str, str]:
        """Return the candidate of each kept edge."""
        return {str(self.place.edge(index)): name for name, index in value}

    def check(self, value: Any) -> None:
        """Check that the value lists 1 to `keep` different edges, or all if `keep` is None."""
        pairs = value if isinstance(value, list) else []
        valid = all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and type(pair[1]) is int
            and pair[1] in range(self.count)
            for pair in pairs
        )
        indices = [pair[1] for pair in pairs] if valid else []
        last = self.count - 1
        if self.keep is None and indices != list(range(self.count)):
            wanted = f"a [candidate, input] pair for each input from 0 to {last}, in order"
            raise UserError(f"genotype: choices.{self.place}: {short(value)} is not {wanted}")
        if self.keep is not None and not 1 <= len(indices) == len(set(indices)) <= self.keep:
            wanted = f"1 to {self.keep} [candidate, input] pairs with different inputs"
            raise UserError(
                f"genotype: choices.{self.place}: {short(value)} is not {wanted} from 0 to {last}"
            )
        for name, index in pairs:
            named(name, self.tables[index], self.place)

    def relaxed(self, context: Context) -> WeightedEdges:
        """Build a node that sums a mixed operation on each input."""
        edges = [context.add(edge) for edge in self.edges]
        norm = None
        if context.node_norm and self.keep is not None:
            norm = BatchNorm2d(self.channels, affine=False)
        normalized = self.has_row(context)
        return WeightedEdges(context.shared, self.label, edges, normalized=normalized, norm=norm)

    def derived(self, value: list[list[Any]]) -> ChosenEdges:
        """Build a node that sums the chosen edges."""
        edges = self.edges
        return ChosenEdges([edges[i].derived(name) for name, i in value], [i for _, i in value])


def tables_of(candidates: Candidates | Sequence[Candidates], count: int) -> Sequence[Candidates]:
    """Return the candidates of each of several edges, which may be the same for all."""
    return [candidates] * count if isinstance(candidates, Mapping) else candidates


def strongest_edges(
    keep: int | None,
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
        keep: Number of edges to keep; None for all.
        names: Names of the candidates of each edge.
        probabilities: Weights (N,) of each edge.
        edge_weights: Weights of the edges, (count,); None for equal ones.
        threshold: Edges with a smaller probability are dropped, except the strongest (FairDARTS);
            has no effect on nodes that keep all edges.

    Returns:
        [candidate, input] pairs.
    """
    ranked = []
    weights = [1.0] * len(names) if edge_weights is None else edge_weights.tolist()
    for index, (candidates, row, weight) in enumerate(
        zip(names, probabilities, weights, strict=True)
    ):
        p = dict(zip(candidates, row.tolist(), strict=True))
        if keep is not None:
            p.pop(NONE, None)
        best = max(p, key=p.__getitem__)
        ranked.append((best, index, p[best], weight * p[best]))
    if keep is not None:
        ranked = sorted(ranked, key=lambda edge: -edge[3])[:keep]
        if threshold is not None:
            ranked = ranked[:1] + [edge for edge in ranked[1:] if edge[2] >= threshold]
    return [[best, index] for best, index, *_ in ranked]
