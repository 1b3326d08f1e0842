"""The two builders that a space asks for its searched modules: `Relaxed` and `Derived`.

A space is an `nn.Module` whose constructor asks its first argument, `choose`, for everything that
is open to search:

    self.c1 = choose.op("c1", CANDIDATES, 64, 64)

`op` is a searched operation, `inputs` a choice among earlier outputs, and `edges` a node of a cell.
`Relaxed` answers with mixtures of all candidates, `Derived` with the choices of a genotype. Modules
that ask for the same place share one row of alphas.
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
from srnas.errors import UserError, did_you_mean, one_line, short
from srnas.primitives.batchnorm import BatchNorm2d


class Builder(Protocol):
    """The interface through which a space asks for its searched modules.

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
        """Build a searched operation.

        Args:
            place: Where it is; operations at the same place share their alphas.
            candidates: The candidate operations by name, in the order of the logits.
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            stride: Stride of the operation.

        Returns:
            A module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride).
        """

    def inputs(self, place: Place | str, count: int, keep: int) -> WeightedInputs | ChosenInputs:
        """Build a link: a choice of `keep` among `count` earlier outputs.

        Args:
            place: Where the link is.
            count: Number of earlier outputs.
            keep: Number of inputs that a derived network takes.

        Returns:
            A module that maps the list of earlier outputs to the list of inputs. Its length is the
            number of these inputs, which the layer after it needs to know.
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
        """Build a node: the sum over a searched operation on each of `count` earlier outputs.

        Args:
            place: Where the node is.
            count: Number of earlier outputs.
            keep: Number of edges that a derived network keeps, see `Node`.
            candidates: The candidates of all edges, or a sequence with those of each edge.
            channels: Channels of the inputs and of the output.
            strides: Stride of each edge.

        Returns:
            A module that maps the list of earlier outputs to the sum.
        """


class Relaxed:
    """Build mixtures of all candidates, weighted by alphas.

    Args:
        partial_channels: K; if K > 1, only 1/K of the channels pass through the candidates
            (PC-DARTS, SAC).
        affine: Whether BatchNorm in candidates and cells has scale and shift. Off by default, as in
            the whole DARTS family, because a scale could undo the effect of alpha.
        merge: Whether linear candidates run as one convolution, see `MixedOp`.
        edge_normalization: Whether nodes that keep only some of their edges have edge weights of
            their own (PC-DARTS).
        auxiliary_skip: Whether each mixed operation also adds its weighted input (DARTS-).
        node_norm: Whether the sum of a node goes through BatchNorm without scale and shift, for
            edges whose weights do not sum to 1 (CRB of DARTS-PRIME). Nodes that keep all edges have
            no such BatchNorm.

    Attributes:
        choices: The choices requested so far.
        shared: State that the mixed operations share in a forward pass.
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
        """Build a link that returns all inputs, each multiplied by its weight."""
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
        """Build a node that sums a mixed operation on each input."""
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
            norm = BatchNorm2d(channels, affine=False)
        normalized = self.edge_normalization and keep is not None
        return WeightedEdges(self.shared, label, edges, normalized=normalized, norm=norm)


class Derived:
    """Build the operations and inputs that a genotype chose.

    `op`, `inputs` and `edges` raise UserError if the genotype has no choice for a place, or one
    that does not fit. `check_all_used` finds choices for places that the network does not have.

    Args:
        choices: The choices by place, from `Space.read_choices`.
        space: Name of the space, for error messages.

    Attributes:
        used: The places requested so far.
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
        """Build a link that returns the chosen inputs, unweighted, in the genotype's order."""
        place = Place.of(place)
        chosen = self._chosen(place)
        numbers = chosen if isinstance(chosen, list) else []
        valid = all(isinstance(i, int) and 1 <= i <= count for i in numbers)
        if not valid or len(set(numbers)) != keep or len(numbers) != keep:
            raise UserError(
                f"genotype: choices.{place}: {short(chosen)} is not {keep} different numbers from "
                f"1 to {count}"
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
        """Build a node that sums the chosen edges.

        The genotype lists them as [candidate, input] pairs, with inputs counted from 0. They are 1
        to `keep` different inputs, or all inputs in order if `keep` is None.
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
            raise UserError(f"genotype: choices.{place}: {short(chosen)} is not {wanted}")
        if keep is not None and not 1 <= len(indices) == len(set(indices)) <= keep:
            wanted = f"1 to {keep} [candidate, input] pairs with different inputs"
            raise UserError(
                f"genotype: choices.{place}: {short(chosen)} is not {wanted} from 0 to {count - 1}"
            )
        tables = _tables(candidates, count)
        edges = [
            _named(name, tables[i], place).build(channels, channels, strides[i])
            for name, i in pairs
        ]
        return ChosenEdges(edges, indices)

    def check_all_used(self) -> None:
        """Raise UserError if the genotype has a choice for a place that the network lacks."""
        extra = sorted(str(place) for place in self.choices if place not in self.used)
        if extra:
            raise UserError(
                f"genotype: choices.{one_line(str(extra[0]), 100)}: space {self.space!r} has no "
                f"such position; {did_you_mean(extra[0], map(str, self.used))}"
            )

    def _chosen(self, place: Place) -> Any:
        if place not in self.choices:
            raise UserError(f"genotype: choices.{place} is missing; space {self.space!r} needs it")
        self.used.add(place)
        return self.choices[place]


def _named(name: Any, candidates: Candidates, place: Place) -> Primitive:
    if not isinstance(name, str) or name not in candidates:
        raise UserError(
            f"genotype: choices.{place}: no candidate is named {short(name)}; "
            f"{did_you_mean(name, candidates)}"
        )
    return candidates[name]


def _tables(candidates: Candidates | Sequence[Candidates], count: int) -> Sequence[Candidates]:
    return [candidates] * count if isinstance(candidates, Mapping) else candidates
