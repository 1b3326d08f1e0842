"""The contract of a search space."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from srnas.choice.channels import ChannelSet
from srnas.choice.edges import ChosenEdges
from srnas.choice.genotype import Genotype
from srnas.choice.open_choices import Choices
from srnas.choice.place import Place
from srnas.diagram import Diagram
from srnas.errors import UserError

ScoreTable = Callable[[Genotype], dict[str, float]]
"""Maps a genotype to its accuracies in a tabular benchmark, by data set."""


class Space(nn.Module, ABC):
    """Base class of search spaces: networks that ask a builder for their open choices.

    The constructor takes the builder (`srnas.choice.Builder`) as its positional argument, and its
    options as annotated keyword-only arguments. A subclass must define `task` and `forward`;
    everything else has a default.

    Attributes:
        task: Name of the task that provides data and losses, a folder of `srnas.tasks`.
        published: Choices of the published network that the space is named after, {} if it has
            none to choose; None if there is no published network.
        min_size: Minimum height and width of an input, in pixels; of the class, or of its network.
        rescaled: Prefixes of the parameters whose shapes depend on the scale factor. A warm start
            from another scale leaves these as initialized.
        drops_paths: Whether `drop_path_prob` has an effect.
        trained_as: Form in which a network that is shrunk learns best, see
            `srnas.primitives.reparameterized`; None for plain convolutions.
        table_prefix: What the figures of a table are called in logs: PREFIX_FIGURE.
    """

    task: ClassVar[str]
    published: ClassVar[Mapping[str, Any] | None] = None
    min_size: int = 1
    rescaled: ClassVar[tuple[str, ...]] = ()
    drops_paths: ClassVar[bool] = False
    trained_as: ClassVar[str | None] = None
    table_prefix: ClassVar[str] = "table"

    @abstractmethod
    def forward(self, x: Tensor) -> Any:
        """Apply the network to images of shape (B, 3, H, W)."""

    @classmethod
    def read_choices(cls, choices: Mapping[str, Any]) -> Choices:
        """Return the choices of a genotype by place.

        Raises:
            UserError: The choices do not have the format of this space.
        """
        return {Place.named(label): choice for label, choice in choices.items()}

    @classmethod
    def write_choices(cls, choices: Choices) -> dict[str, Any]:
        """Return choices by place in the format of the space's genotype files."""
        return {str(place): choice for place, choice in choices.items()}

    @classmethod
    def published_choices(cls, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the choices of the published network in a space with these options."""
        return cls.published

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the network of a genotype; [] if the space has no drawing.

        Args:
            options: All options of the space.
            choices: Choices of a genotype, in the format of the space's files.
        """
        return []

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the space options, such as the width, that a weight file determines."""
        return {}

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the authors' weight file; unknown keys are kept."""
        return dict(state)

    def adapt_weights(
        self, state: Mapping[str, Tensor], made_with: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Convert weights of a network with other options so that this one computes the same.

        Args:
            state: Tensors under our names.
            made_with: The space options that their network was built with, as far as known.
        """
        return dict(state)

    def merge(self) -> dict[str, Any]:
        """Replace what only training needs by plain modules with the same output, in place.

        Model files, exports and costs are of merged networks; a training keeps its network as it
        is.

        Returns:
            The options that the network now has, as far as they have changed.
        """
        return {}

    @classmethod
    def opened(cls, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the options of a space in which parts of a trained network may become cheaper.

        Its choices are for single places; with those of the network, or with what
        `published_choices` returns where the network has none, it is the network itself.

        Args:
            options: Options of the network's space.

        Returns:
            The options that differ; None if this space cannot say.
        """
        return None

    @classmethod
    def scope(cls, label: str) -> str | None:
        """Return the name of the smallest module on whose outside a choice has no influence.

        Args:
            label: Label of the choice, in the space of `opened`.

        Returns:
            The name, "" for the network; None if the choice is to stay as it is.
        """
        return None

    def channel_cuts(self, choices: Mapping[str, Any]) -> list[tuple[ChannelSet, int]]:
        """Return sets of channels, and how many a network with other choices has of each.

        Of layers in none of the sets, the first channels are taken; by default of all.

        Args:
            choices: Choices of the other network by label.
        """
        return []

    def repeated(self, label: str) -> list[str]:
        """Return the names of the convolutions that a searched depth repeats, in their order.

        By default they are unknown ([]).
        """
        return []

    @classmethod
    def open_table(cls, file: Path) -> ScoreTable:
        """Open a tabular benchmark of this space's networks.

        Raises:
            UserError: This space has no table, or the file is not a table.
        """
        raise UserError(f"{file}: no table has the networks of this space")

    @classmethod
    def has_table(cls) -> bool:
        """Return whether there is a tabular benchmark of this space."""
        return cls.open_table.__func__ is not Space.open_table.__func__  # type: ignore[attr-defined]

    @property
    def drop_path_prob(self) -> float:
        """Probability with which training drops an edge, at least 0 and below 1."""
        return max((edges.drop_path_prob for edges in self._chosen_edges()), default=0.0)

    @drop_path_prob.setter
    def drop_path_prob(self, prob: float) -> None:
        for edges in self._chosen_edges():
            edges.drop_path_prob = prob

    def _chosen_edges(self) -> list[ChosenEdges]:
        return [module for module in self.modules() if isinstance(module, ChosenEdges)]
