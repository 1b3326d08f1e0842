"""The two builders that a space asks for its searched modules.

A space is an `nn.Module` whose constructor asks its first argument, `choose`, for everything that
is open to search:

    self.c1 = choose.op("c1", CANDIDATES, 64, 64)

`RelaxedBuilder` answers with modules that weigh all alternatives, `DerivedBuilder` with the choices
of a genotype. Modules that ask for the same place share one row of alphas.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from srnas.choice.choice import Choice
from srnas.choice.depth import DepthChoice, Repeated, WeightedDepths
from srnas.choice.edges import ChosenEdges, WeightedEdges
from srnas.choice.inputs import ChosenInputs, InputChoice, WeightedInputs
from srnas.choice.mixed_op import MixedOpOptions, SharedWeights
from srnas.choice.node import NodeChoice, tables_of
from srnas.choice.open_choices import OpenChoices
from srnas.choice.operation import OpChoice
from srnas.choice.place import Place
from srnas.choice.primitive import Candidates
from srnas.choice.width import Channels, MaskedChannels, WidthChoice
from srnas.errors import UserError, did_you_mean, one_line


class Builder(ABC):
    """The interface through which a space asks for its searched modules.

    A builder is one method, `add`. The others describe a kind of choice for it.

    Attributes:
        affine: Whether BatchNorm around the choices (inside cells) has scale and shift.
    """

    affine: bool

    @abstractmethod
    def add(self, choice: Choice) -> Any:
        """Return the module of a choice."""

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
        module: nn.Module = self.add(
            OpChoice(Place.of(place), candidates, in_channels, out_channels, stride)
        )
        return module

    def inputs(self, place: Place | str, count: int, keep: int) -> WeightedInputs | ChosenInputs:
        """Build a choice of `keep` among `count` earlier outputs.

        Args:
            place: Where the choice is.
            count: Number of earlier outputs.
            keep: Number of inputs that a derived network takes.

        Returns:
            A module that maps the list of earlier outputs to the list of inputs. Its length is the
            number of these inputs, which the layer after it needs to know.
        """
        module: WeightedInputs | ChosenInputs = self.add(InputChoice(Place.of(place), count, keep))
        return module

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
            keep: Number of edges that a derived network keeps, see `NodeChoice`.
            candidates: The candidates of all edges, or a sequence with those of each edge.
            channels: Channels of the inputs and of the output.
            strides: Stride of each edge.

        Returns:
            A module that maps the list of earlier outputs to the sum.
        """
        tables = tables_of(candidates, count)
        module: WeightedEdges | ChosenEdges = self.add(
            NodeChoice(Place.of(place), count, keep, tables, channels, strides)
        )
        return module

    def width(
        self, place: Place | str, widths: Sequence[int], cost: Callable[[int], float] = float
    ) -> MaskedChannels | Channels:
        """Build a searched number of channels.

        Args:
            place: Where it is; layers at the same place have the same width.
            widths: The widths, ascending.
            cost: Cost of a width, see `WidthChoice`.

        Returns:
            A module with `channels`, the number of channels that the layer before it must have. It
            maps (B, channels, H, W) to the same shape.
        """
        module: MaskedChannels | Channels = self.add(
            WidthChoice(Place.of(place), tuple(widths), cost)
        )
        return module

    def depth(
        self, place: Place | str, depths: Sequence[int], cost: Callable[[int], float] = float
    ) -> WeightedDepths | Repeated:
        """Build a searched number of blocks.

        Args:
            place: Where it is.
            depths: The numbers of blocks, ascending; 0 passes the input on.
            cost: Cost of a depth, see `DepthChoice`.

        Returns:
            A module with `count`, the number of blocks that the space must build. It maps
            (B, C, H, W) and these blocks to the same shape.
        """
        module: WeightedDepths | Repeated = self.add(
            DepthChoice(Place.of(place), tuple(depths), cost)
        )
        return module


class RelaxedBuilder(Builder):
    """Build modules that weigh all alternatives by alphas, for a supernet.

    Args:
        partial_channels: K; if K > 1, only 1/K of the channels pass through the candidates
            (PC-DARTS, SAC).
        affine: Whether BatchNorm in candidates and cells has scale and shift. Off by default, as in
            the whole DARTS family, because a scale could undo the effect of alpha.
        edge_normalization: Whether nodes that keep only some of their edges have edge weights of
            their own (PC-DARTS).
        auxiliary_skip: Whether each mixed operation also adds its weighted input (DARTS-).
        node_norm: Whether the sum of a node goes through BatchNorm without scale and shift, for
            edges whose weights do not sum to 1 (CRB of DARTS-PRIME). Nodes that keep all edges have
            no such BatchNorm.

    Attributes:
        choices: The choices requested so far.
        shared: State that the weighing modules share in a forward pass.
    """

    def __init__(
        self,
        *,
        partial_channels: int = 1,
        affine: bool = False,
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
        self.mixed = MixedOpOptions(affine, auxiliary_skip)

    def add(self, choice: Choice) -> Any:
        """Register a choice and build its module.

        Raises:
            UserError: Partial channels do not fit an operation.
        """
        self.choices.add(choice)
        return choice.relaxed(self)


class DerivedBuilder(Builder):
    """Build the modules that a genotype chose.

    `check_all_used` finds choices for places that the network does not have.

    Args:
        choices: The choices by place, from `Space.read_choices`.
        space: Name of the space, for error messages.

    A value for a place without a group applies to all groups without a value of their own.

    Attributes:
        used: The places of `choices` requested so far.
        values: The values of all places requested so far.
    """

    affine = True

    def __init__(self, choices: Mapping[Place, Any], space: str) -> None:
        self.choices = choices
        self.space = space
        self.used: set[Place] = set()
        self.values: dict[Place, Any] = {}

    def add(self, choice: Choice) -> Any:
        """Build the module of a choice.

        Raises:
            UserError: The genotype has no value for it, or one that does not fit.
        """
        place = choice.place
        if place not in self.choices:
            place = place.everywhere
        if place not in self.choices:
            raise UserError(
                f"genotype: choices.{choice.place} is missing; space {self.space!r} needs it"
            )
        self.used.add(place)
        value = self.values[choice.place] = self.choices[place]
        choice.check(value)
        return choice.derived(value)

    def check_all_used(self) -> None:
        """Raise UserError if the genotype has a choice for a place that the network lacks."""
        extra = sorted(str(place) for place in self.choices if place not in self.used)
        if extra:
            raise UserError(
                f"genotype: choices.{one_line(str(extra[0]), 100)}: space {self.space!r} has no "
                f"such position; {did_you_mean(extra[0], map(str, self.used))}"
            )
