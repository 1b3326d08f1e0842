"""The two answers to a network's questions: `Relaxed` (mixtures) and `Derived` (the choice).

A space is an ordinary `nn.Module` whose constructor asks its first argument, `choose`, for
what is open to search:

    self.c1 = choose.op("c1", CANDIDATES, 64, 64)

`op` is one operation, `inputs` a choice among earlier outputs, `edges` a node of a cell. The same
label means the same alpha row, however often it is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from srnas.choice.edges import ChosenEdges, EdgeGroup, WeightedEdges
from srnas.choice.genotype import Genotype
from srnas.choice.inputs import ChosenInputs, WeightedInputs
from srnas.choice.mixed_op import MixedOp, Mixing, Mixture, PartialMixedOp
from srnas.errors import UserError, did_you_mean


class Primitive(Protocol):
    """A candidate operation: how it is built and what it costs.

    linear_size: if the operation is one linear convolution, the side of its dense kernel
        (counted over dilation), and `as_kernel` gives that kernel; else 0.
    dense: whether it is a dense convolution.
    parameter_free: whether it has no weights (at stride 1).
    searched_norm: whether a BatchNorm follows it in a mixture, and in mixtures only: DARTS'
        pooling, whose scale would else not be that of the others.
    """

    linear_size: int
    dense: bool
    parameter_free: bool
    searched_norm: bool

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """The operation; `affine` is whether its BatchNorm has scale and shift."""

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Multiply-accumulates of its convolutions for one output pixel."""

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """(C_out, C_in, linear_size, linear_size) kernel and (C_out,) bias of what it built."""


Candidates = Mapping[str, Primitive]


@dataclass(frozen=True)
class Position:
    """One open choice: an alpha row, shared by all places of the network with its label.

    in_channels, out_channels: of the first such place; a cell's grow with its depth.
    """

    label: str
    candidates: Candidates
    in_channels: int
    out_channels: int


@dataclass(frozen=True)
class LinkPosition:
    """One open choice of inputs: `keep` of the first `count` of a list."""

    label: str
    count: int
    keep: int


class Relaxed:
    """Answers with mixtures of all candidates, weighted by alphas.

    partial_channels: K; K > 1 sends only 1/K of the channels through the candidates
        (PC-DARTS, SAC).
    affine: whether the candidates' BatchNorm, and that of a network around them in its cells,
        has scale and shift. Off by default, as in all of the DARTS family: a scale could undo
        what alpha says.
    merge: see `MixedOp`.
    edge_normalization: whether the edges of a node that keeps only some of them have weights
        of their own (PC-DARTS).
    auxiliary_skip: whether each operation's input also passes it by (DARTS-).
    node_norm: whether a node's sum goes through a BatchNorm without scale and shift, where its
        edges' weights do not sum to 1 (DARTS-PRIME's CRB); nodes that keep all edges have none.
    """

    def __init__(
        self,
        partial_channels: int = 1,
        affine: bool = False,
        merge: bool = True,
        edge_normalization: bool = False,
        auxiliary_skip: bool = False,
        node_norm: bool = False,
    ) -> None:
        self.node_norm = node_norm
        self.partial_channels = partial_channels
        self.affine = affine
        self.mixing = Mixing(affine, merge, auxiliary_skip)
        self.edge_normalization = edge_normalization
        self.positions: dict[str, Position] = {}
        self.links: dict[str, LinkPosition] = {}
        self.groups: dict[str, EdgeGroup] = {}
        self.mixture = Mixture()

    def op(
        self,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> nn.Module:
        """A mixture of the candidates. Channels must be divisible by K (UserError)."""
        position = Position(label, candidates, in_channels, out_channels)
        known = self.positions.setdefault(label, position)
        assert known.candidates == candidates, f"label {label!r} is asked for with two tables"
        shape = (candidates, in_channels, out_channels, stride, self.mixing)
        if self.partial_channels == 1:
            return MixedOp(self.mixture, label, *shape)
        return PartialMixedOp(self.mixture, label, *shape, divisor=self.partial_channels)

    def inputs(self, label: str, count: int, keep: int) -> WeightedInputs:
        """All `count` inputs, each multiplied by its weight."""
        link = LinkPosition(label, count, keep)
        known = self.links.setdefault(label, link)
        assert known == link, f"label {label!r} is asked for with two different choices"
        return WeightedInputs(self.mixture, label, count)

    def edges(
        self,
        label: str,
        count: int,
        keep: int | None,
        candidates: Candidates | Sequence[Candidates],
        channels: int,
        strides: Sequence[int],
    ) -> WeightedEdges:
        """The sum over `count` inputs, each through a mixture with the stride of that input.

        keep: see `EdgeGroup`. candidates: one table for all edges, or one for each.
        """
        group = EdgeGroup(label, count, keep)
        known = self.groups.setdefault(label, group)
        assert known == group, f"label {label!r} is asked for with two different choices"
        edges = [
            self.op(edge, table, channels, channels, stride)
            for edge, table, stride in zip(
                group.edges, _tables(candidates, count), strides, strict=True
            )
        ]
        normalized = self.edge_normalization and keep is not None
        normed = self.node_norm and keep is not None
        norm = nn.BatchNorm2d(channels, affine=False) if normed else None
        return WeightedEdges(self.mixture, label, edges, normalized, norm)


class Derived:
    """Answers with what a genotype chose; its choices by label (`Genotype.flat`).

    Asked for a label that the genotype lacks, or for an operation that is not among the
    candidates, it raises UserError; `check_all_used` does so for labels never asked for.
    """

    affine = True  # BatchNorm has scale and shift: see `Relaxed`

    def __init__(self, genotype: Genotype) -> None:
        self.genotype = genotype
        self.used: set[str] = set()

    def op(
        self,
        label: str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> nn.Module:
        """The chosen operation, with affine BatchNorm."""
        primitive = _named(self._chosen(label), candidates, label)
        return primitive.build(in_channels, out_channels, stride)

    def inputs(self, label: str, count: int, keep: int) -> ChosenInputs:
        """The chosen inputs, unweighted, in the genotype's order."""
        chosen = self._chosen(label)
        numbers = chosen if isinstance(chosen, list) else []
        valid = all(isinstance(i, int) and 1 <= i <= count for i in numbers)
        if not valid or len(set(numbers)) != keep or len(numbers) != keep:
            raise UserError(
                f"genotype: choices.{label}: {chosen!r} is not {keep} different numbers from 1 "
                f"to {count}"
            )
        return ChosenInputs([number - 1 for number in numbers])

    def edges(
        self,
        label: str,
        count: int,
        keep: int | None,
        candidates: Candidates | Sequence[Candidates],
        channels: int,
        strides: Sequence[int],
    ) -> ChosenEdges:
        """The sum over the chosen edges: at least one, at most `keep`; all if it is None.

        The genotype has [candidate, input] pairs, inputs counted from 0.
        """
        chosen = self._chosen(label)
        pairs = chosen if isinstance(chosen, list) else []
        valid = all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and type(pair[1]) is int
            and pair[1] in range(count)
            for pair in pairs
        )
        indices = [pair[1] for pair in pairs] if valid else []
        if keep is None and indices != list(range(count)):
            wanted = f"a [candidate, input] pair for each input from 0 to {count - 1}, in order"
            raise UserError(f"genotype: choices.{label}: {chosen!r} is not {wanted}")
        if keep is not None and not 1 <= len(indices) == len(set(indices)) <= keep:
            wanted = f"1 to {keep} [candidate, input] pairs with different inputs"
            raise UserError(
                f"genotype: choices.{label}: {chosen!r} is not {wanted} from 0 to {count - 1}"
            )
        tables = _tables(candidates, count)
        edges = [
            _named(name, tables[i], label).build(channels, channels, strides[i])
            for name, i in pairs
        ]
        return ChosenEdges(edges, indices)

    def check_all_used(self) -> None:
        """UserError if the genotype chooses for a label that the network does not have."""
        extra = sorted(set(self.genotype.choices) - self.used)
        if extra:
            raise UserError(
                f"genotype: choices.{extra[0]}: space {self.genotype.space!r} has no such "
                f"position; {did_you_mean(extra[0], self.used)}"
            )

    def _chosen(self, label: str) -> Any:
        if label not in self.genotype.choices:
            raise UserError(
                f"genotype: choices.{label} is missing; space {self.genotype.space!r} needs it"
            )
        self.used.add(label)
        return self.genotype.choices[label]


def _named(name: Any, candidates: Candidates, label: str) -> Primitive:
    if not isinstance(name, str) or name not in candidates:
        raise UserError(
            f"genotype: choices.{label}: no candidate is named {name!r}; "
            f"{did_you_mean(name, candidates)}"
        )
    return candidates[name]


def _tables(candidates: Candidates | Sequence[Candidates], count: int) -> Sequence[Candidates]:
    return [candidates] * count if isinstance(candidates, Mapping) else candidates
