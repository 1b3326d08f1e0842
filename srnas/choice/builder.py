"""The two builders that answer a network's questions: `Relaxed` (mixtures), `Derived` (choices).

A space is an `nn.Module` whose constructor asks its first argument, `choose`, for what is open to
search:

    self.c1 = choose.op("c1", CANDIDATES, 64, 64)

`op` is one operation, `inputs` a choice among earlier outputs, `edges` a node of a cell. The same
place means the same row of alphas, however often it is asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from srnas.choice.edges import ChosenEdges, WeightedEdges
from srnas.choice.inputs import ChosenInputs, WeightedInputs
from srnas.choice.mixed_op import MixedOp, MixedOpOptions, PartialMixedOp, SharedWeights
from srnas.choice.open_choices import Link, Node, OpenChoices, Position
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates, Primitive
from srnas.errors import UserError, did_you_mean


class Builder(Protocol):
    """What a space asks.

    Attributes:
        affine: Whether BatchNorm around the choices (inside cells) has scale and shift.
    """

    @property
    def affine(self) -> bool: ...

    def op(
        self,
        place: Place | str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> nn.Module:
        """Build one operation: (B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""

    def inputs(self, place: Place | str, count: int, keep: int) -> WeightedInputs | ChosenInputs:
        """Build a choice of `keep` among `count` earlier outputs.

        Its length is the number of inputs that it returns, for the layer behind it.
        """

    def edges(
        self,
        place: Place | str,
        count: int,
        keep: int | None,
        candidates: Candidates | Sequence[Candidates],
        channels: int,
        strides: Sequence[int],
    ) -> WeightedEdges | ChosenEdges:
        """Build a node: the sum over an operation on each of `count` earlier outputs.

        Args:
            keep: See `Node`.
            candidates: Those of all edges, or those of each.
            strides: One an edge.
        """


class Relaxed:
    """Answers with mixtures of all candidates, weighted by alphas.

    Args:
        partial_channels: K; K > 1 sends only 1/K of the channels through the candidates
            (PC-DARTS, SAC).
        affine: Whether BatchNorm in candidates and cells has scale and shift. Off by default, as
            in all of the DARTS family: a scale could undo what alpha says.
        merge: See `MixedOp`.
        edge_normalization: Whether the edges of a node that keeps only some of them have weights
            of their own (PC-DARTS).
        auxiliary_skip: Whether the input of each operation also passes by (DARTS-).
        node_norm: Whether the sum of a node goes through a BatchNorm without scale and shift,
            for edge weights that do not sum to 1 (CRB of DARTS-PRIME); nodes that keep all edges
            have none.

    Attributes:
        choices: What was asked for so far.
        shared: What the mixed operations share in a forward pass.
    """

    def __init__(
        self,
        *,
        partial_channels: int = 1,
        affine: bool = False,
        merge: bool = True,
        edge_normalization: bool = False,
        auxiliary_skip: bool = False,
        node_norm: bool = False,
    ) -> None:
        self.partial_channels = partial_channels
        self.affine = affine
        self.edge_normalization = edge_normalization
        self.node_norm = node_norm
        self.choices = OpenChoices()
        self.shared = SharedWeights()
        self._mixed = MixedOpOptions(affine, merge, auxiliary_skip)

    def op(
        self,
        place: Place | str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> MixedOp | PartialMixedOp:
        """Build a mixed operation.

        Raises:
            UserError: K does not divide the channels.
        """
        place = Place.of(place)
        label = str(place)
        position = Position(place, candidates, in_channels, out_channels)
        known = self.choices.positions.setdefault(label, position)
        assert known.candidates == candidates, f"{label!r} is asked for with two candidate sets"
        if self.partial_channels == 1:
            return MixedOp(
                self.shared,
                label,
                candidates,
                in_channels,
                out_channels,
                stride=stride,
                options=self._mixed,
            )
        return PartialMixedOp(
            self.shared,
            label,
            candidates,
            in_channels,
            out_channels,
            stride=stride,
            options=self._mixed,
            divisor=self.partial_channels,
        )

    def inputs(self, place: Place | str, count: int, keep: int) -> WeightedInputs:
        """Build all inputs, each multiplied by its weight."""
        link = Link(Place.of(place), count, keep)
        known = self.choices.links.setdefault(str(link.place), link)
        assert known == link, f"{known} is asked for with two different choices"
        return WeightedInputs(self.shared, str(link.place), count)

    def edges(
        self,
        place: Place | str,
        count: int,
        keep: int | None,
        candidates: Candidates | Sequence[Candidates],
        channels: int,
        strides: Sequence[int],
    ) -> WeightedEdges:
        """Build the sum over a mixed operation on each input, with the stride of that input."""
        node = Node(Place.of(place), count, keep)
        label = str(node.place)
        known = self.choices.nodes.setdefault(label, node)
        assert known == node, f"{known} is asked for with two different choices"
        edges = [
            self.op(edge, table, channels, channels, stride)
            for edge, table, stride in zip(
                node.edges, _tables(candidates, count), strides, strict=True
            )
        ]
        norm = None
        if self.node_norm and keep is not None:
            norm = nn.BatchNorm2d(channels, affine=False)
        normalized = self.edge_normalization and keep is not None
        return WeightedEdges(self.shared, label, edges, normalized=normalized, norm=norm)


class Derived:
    """Answers with what a genotype chose.

    Args:
        choices: The choices by place (`Space.read_choices`).
        space: The name of the space, for error messages.

    Asked for a place that has no choice, or for an operation that is not among the candidates, it
    raises UserError; `check_all_used` does so for choices that were never asked for.
    """

    affine = True

    def __init__(self, choices: Mapping[Place, Any], space: str) -> None:
        self.choices = choices
        self.space = space
        self.used: set[Place] = set()

    def op(
        self,
        place: Place | str,
        candidates: Candidates,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> nn.Module:
        """Build the chosen operation, with affine BatchNorm."""
        place = Place.of(place)
        primitive = _named(self._chosen(place), candidates, place)
        return primitive.build(in_channels, out_channels, stride)

    def inputs(self, place: Place | str, count: int, keep: int) -> ChosenInputs:
        """Build the chosen inputs, unweighted, in the genotype's order."""
        place = Place.of(place)
        chosen = self._chosen(place)
        numbers = chosen if isinstance(chosen, list) else []
        valid = all(isinstance(i, int) and 1 <= i <= count for i in numbers)
        if not valid or len(set(numbers)) != keep or len(numbers) != keep:
            raise UserError(
                f"genotype: choices.{place}: {chosen!r} is not {keep} different numbers from 1 "
                f"to {count}"
            )
        return ChosenInputs([number - 1 for number in numbers])

    def edges(
        self,
        place: Place | str,
        count: int,
        keep: int | None,
        candidates: Candidates | Sequence[Candidates],
        channels: int,
        strides: Sequence[int],
    ) -> ChosenEdges:
        """Build the sum over the chosen edges: at least one, at most `keep`; all if it is None.

        The genotype has [candidate, input] pairs, inputs counted from 0.
        """
        place = Place.of(place)
        chosen = self._chosen(place)
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
            raise UserError(f"genotype: choices.{place}: {chosen!r} is not {wanted}")
        if keep is not None and not 1 <= len(indices) == len(set(indices)) <= keep:
            wanted = f"1 to {keep} [candidate, input] pairs with different inputs"
            raise UserError(
                f"genotype: choices.{place}: {chosen!r} is not {wanted} from 0 to {count - 1}"
            )
        tables = _tables(candidates, count)
        edges = [
            _named(name, tables[i], place).build(channels, channels, strides[i])
            for name, i in pairs
        ]
        return ChosenEdges(edges, indices)

    def check_all_used(self) -> None:
        """Raise UserError if there is a choice for a place that the network does not have."""
        extra = sorted(str(place) for place in self.choices if place not in self.used)
        if extra:
            raise UserError(
                f"genotype: choices.{extra[0]}: space {self.space!r} has no such "
                f"position; {did_you_mean(extra[0], map(str, self.used))}"
            )

    def _chosen(self, place: Place) -> Any:
        if place not in self.choices:
            raise UserError(f"genotype: choices.{place} is missing; space {self.space!r} needs it")
        self.used.add(place)
        return self.choices[place]


def _named(name: Any, candidates: Candidates, place: Place) -> Primitive:
    if not isinstance(name, str) or name not in candidates:
        raise UserError(
            f"genotype: choices.{place}: no candidate is named {name!r}; "
            f"{did_you_mean(name, candidates)}"
        )
    return candidates[name]


def _tables(candidates: Candidates | Sequence[Candidates], count: int) -> Sequence[Candidates]:
    return [candidates] * count if isinstance(candidates, Mapping) else candidates
