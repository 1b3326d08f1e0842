"""The contract of a task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from srnas.choice import Space
from srnas.errors import UserError

if TYPE_CHECKING:
    from srnas.distributed import Process
    from srnas.options import SearchOptions, TrainOptions
    from srnas.parts import Strict


class Batches(Protocol):
    """An endless iterator over batches that can continue from a saved state.

    Attributes:
        count: Number of images that the batches are drawn from.
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
    """The interface of an exported network.

    Attributes:
        input: Name of its input.
        output: Name of its output.
        sizes: Sizes (height, width) of the photographs on which an export is compared with PyTorch.
    """

    input: str
    output: str
    sizes: tuple[tuple[int, int], ...]


class Task(ABC):
    """Base class of tasks: the images, the loss and the metrics of a search or training.

    The class describes the task. An instance, made by `open`, holds the images and the loss of one
    run.

    Attributes:
        options: Options model of each kind of file ("search", "train", and others of its own).
        score: Key in the result of `validate` that selects the best weights.
        higher_is_better: Whether larger scores are better.
        curves: Titles of the metrics that a run's report plots, by key in its logs.
        baselines: What is drawn into a curve to compare with: its name by key, by the curve's key.
        ports: Interface of an exported network.
        val_count: Number of validation images.
    """

    options: "ClassVar[Mapping[str, type[Strict]]]"
    score: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    curves: ClassVar[Mapping[str, str]] = {}
    baselines: ClassVar[Mapping[str, Mapping[str, str]]] = {}
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
            options: Options of the run.
            process: Device and rank of this process.
            network: Network that is trained on the images (for a search, that inside the supernet).
            streams: Splits of the data to draw batches from, such as "train" and "alpha".
            pooled: Whether the first stream draws from the images of all streams.

        Returns:
            The opened task, and the batches of each stream.

        Raises:
            UserError: The images cannot be read, do not fit the network, or are in two splits.
        """

    @property
    @abstractmethod
    def val_count(self) -> int: ...

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss on a batch, a scalar."""

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return metrics on the validation images, by name."""

    @abstractmethod
    def describe(self, quality: Mapping[str, float]) -> str:
        """Summarize the result of `validate` in a few words."""

    def test(self, network: nn.Module) -> dict[str, float]:
        """Return metrics of a trained network on the test split, or {} if the data has none."""
        return {}

    def begin_step(  # noqa: B027  (optional)
        self, network: nn.Module, by_step: float, by_epoch: float
    ) -> None:
        """Prepare the network for a training step.

        Args:
            network: The network.
            by_step: Progress of the run in [0, 1] at the current step.
            by_epoch: Progress of the run at the first step of the current epoch.
        """

    @classmethod
    def profile(cls, network: Space, size: tuple[int, int] | None) -> dict[str, Any]:
        """Count parameters and MACs in the conventions of the field.

        Args:
            network: The network.
            size: One more input size (width, height) to count.

        Returns:
            {"params": count, CONVENTION: {"macs": count}, ...}; the entry "input" also has "size".
        """
        from srnas.cost import profile

        return profile(network, {}, size)

    @classmethod
    def evaluate(cls, network: Space, data: Any, *, device: str = "auto", **how: Any) -> Any:
        """Return metrics of a network on data sets; each task defines which data it accepts.

        Args:
            network: The network.
            data: Data sets, in a form defined by the task.
            device: Device, see `choose_device`.
            how: Further arguments of the task.

        Raises:
            UserError: The data cannot be read or does not fit the network.
        """
        raise UserError(f"networks of {type(network).__name__} cannot be evaluated this way")

    @classmethod
    def traits(cls, network: Space) -> str:
        """Return what distinguishes the network from others of its space ("x2"), or ""."""
        return ""
