"""The contract of a task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from srnas.choice import Genotype, Space
from srnas.errors import UserError

if TYPE_CHECKING:
    from srnas.distributed import Process
    from srnas.options import SearchOptions, TrainOptions
    from srnas.parts import Strict


class Batches(Protocol):
    """An endless iterator over batches that continues from a saved state.

    Attributes:
        count: The number of images that the batches are drawn from.
    """

    count: int

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Continue from what `state_dict` returned."""


@dataclass(frozen=True)
class Ports:
    """How an exported network is called.

    Attributes:
        input, output: The names of its input and output.
        sizes: The (height, width) of the inputs at which an export is compared with PyTorch.
    """

    input: str
    output: str
    sizes: tuple[tuple[int, int], ...]


class Task(ABC):
    """What a search or training works on: its images, its loss, its figures of merit.

    The class describes the task; an instance, made by `open`, holds the images and the loss of one
    run.

    Attributes:
        options: The options of each kind of file ("search", "train", and others of its own).
        score: Which figure of `validate` chooses the best weights, the larger the better.
        curves: Figures in a run's logs that its report draws -> their titles.
        ports: How an exported network is called.
        val_count: The number of images that it validates on.
    """

    options: "ClassVar[Mapping[str, type[Strict]]]"
    score: ClassVar[str]
    curves: ClassVar[Mapping[str, str]] = {}
    ports: ClassVar[Ports]

    @classmethod
    @abstractmethod
    def open(
        cls,
        options: "SearchOptions | TrainOptions",
        process: "Process",
        network: Space,
        streams: Sequence[str],
        *,
        pooled: bool = False,
    ) -> "tuple[Task, list[Batches]]":
        """Open the images of a run.

        Args:
            network: The network or supernet's network that will be trained on them.
            streams: The splits of the data to draw batches from, such as "train" and "alpha".
            pooled: Whether the first stream draws from the images of all streams.

        Returns:
            The opened task, and the batches of each stream.

        Raises:
            UserError: The images cannot be read, do not fit the network, or serve two purposes.
        """

    @property
    @abstractmethod
    def val_count(self) -> int: ...

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of merit on the validation images."""

    @abstractmethod
    def describe(self, quality: Mapping[str, float]) -> str:
        """Say what `validate` returned in a few words."""

    def test(self, network: nn.Module) -> dict[str, float]:
        """Return figures of merit of a finished network on the data's test split, if it has one."""
        return {}

    def begin_step(self, network: nn.Module, progress: float) -> None:  # noqa: B027  (optional)
        """Prepare the network for a training step at this progress of the run, in [0, 1]."""

    def look_up(self, genotype: Genotype) -> dict[str, float]:
        """Return what a tabular benchmark says of a genotype, by the names that logs use."""
        return {}

    @classmethod
    def profile(cls, network: Space, size: tuple[int, int] | None) -> dict[str, Any]:
        """Count parameters and MACs by the conventions of the field.

        Args:
            size: The (width, height) of one more input to count.

        Returns:
            {"params": count, CONVENTION: {"macs": count}, ...}; an entry "input" also has "size".
        """
        from srnas.cost import profile

        return profile(network, {}, size)

    @classmethod
    def evaluate(cls, network: Space, data: Any, *, device: str = "auto", **how: Any) -> Any:
        """Return figures of merit of a network on data sets; each task says which data it takes.

        Raises:
            UserError: The data cannot be read or do not fit the network.
        """
        raise UserError(f"networks of {type(network).__name__} cannot be evaluated this way")

    @classmethod
    def traits(cls, network: Space) -> str:
        """Return what sets the network apart from others of its space ("x2"), or ""."""
        return ""
