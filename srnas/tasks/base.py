"""The contract of a task."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.components import Strict
from srnas.cost import profile
from srnas.distributed import Process
from srnas.errors import UserError


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


@dataclass(frozen=True)
class Opened:
    """A task with the images of a run, from which `Task.open` makes the streams of batches.

    Attributes:
        task: The task.
        splits: What the streams draw from, by name of the split.
        batches: Maps one of these and a seed to batches.
        pool: Joins several of these into one; by default they are sequences of images.
    """

    task: "Task"
    splits: Mapping[str, Any]
    batches: Callable[[Any, int], Batches]
    pool: Callable[[Sequence[Any]], Any] = lambda splits: list(chain.from_iterable(splits))


class Task(ABC):
    """Base class of tasks: the images, the loss and the metrics of a search or training.

    The class describes the task. An instance, made by `open`, holds the images and the loss of one
    run. A task reads its images (`read`) and compares predictions with a batch (`criterion`).

    Attributes:
        options: Options model of each kind of file ("search", "train", and others of its own).
        score: Key in the result of `validate` that selects the best weights.
        higher_is_better: Whether larger scores are better.
        curves: Titles of the metrics that a run's report plots, by key in its logs.
        baselines: What is drawn into a curve to compare with: its name by key, by the curve's key.
        ports: Interface of an exported network.
        val_count: Number of validation images.
        device: Device of the batches.
        precision: Precision of forward passes in training, "float32" or "bfloat16".
        notes: Lines of a dry run about the preparations: a name and a text each.
        sources: Folders of the images of the first stream, with "folder", "images" (a number) and
            "terms", for model cards.
    """

    options: ClassVar[Mapping[str, type[Strict]]]
    score: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    curves: ClassVar[Mapping[str, str]] = {}
    baselines: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    ports: ClassVar[Ports]
    device: torch.device
    precision: str
    notes: Sequence[tuple[str, str]] = ()
    sources: Sequence[Mapping[str, Any]] = ()

    @classmethod
    @abstractmethod
    def read(
        cls,
        options: Any,
        process: Process,
        network: Space,
        streams: Sequence[str],
        *,
        rehearsal: bool,
    ) -> Opened:
        """Read the images of a run; see `open`.

        Args:
            options, process, network, rehearsal: As in `open`.
            streams: Splits of the data that batches are drawn from. Others, such as those of the
                validation, are the task's own.

        Raises:
            UserError: As in `open`.
        """

    @classmethod
    def open(
        cls,
        options: Any,
        process: Process,
        network: Space,
        streams: Sequence[str],
        *,
        pooled: bool = False,
        rehearsal: bool = False,
    ) -> tuple["Task", list[Batches]]:
        """Open the images of a run.

        Args:
            options: Options of the run, of the model that `options` has for "search" or "train".
            process: Device and rank of this process.
            network: Network that is trained on the images (for a search, that inside the supernet).
            streams: Splits of the data to draw batches from, such as "train" and "alpha".
            pooled: Whether the first stream draws from the images of all streams.
            rehearsal: Whether the run only estimates what it takes. Long preparations are then left
                out, and said in the task's `notes`.

        Returns:
            The opened task, and the batches of each stream.

        Raises:
            UserError: The images cannot be read, do not fit the network, or are in two splits.
        """
        if process.primary:
            _tell_packaged(options.data)
        opened = cls.read(options, process, network, streams, rehearsal=rehearsal)
        splits = [opened.splits[stream] for stream in streams]
        if pooled:
            splits[0] = opened.pool(splits)
        seeds = range(2 * options.seed, 2 * options.seed + len(splits))
        return opened.task, [opened.batches(*one) for one in zip(splits, seeds, strict=True)]

    @classmethod
    def identify_data(cls, options: Any) -> str:
        """Return the identity of a training's images in any folder; by default nothing.

        Results of a table with different identities are not mixed.
        """
        return ""

    @property
    @abstractmethod
    def val_count(self) -> int: ...

    def with_few(self, most: int) -> "Task":
        """Return a task that validates on a few representative images; by default on all.

        Args:
            most: Number of images that suffice.
        """
        return self

    def predict(self, network: nn.Module, batch: Any) -> Any:
        """Return a network's output for a batch, whose first element is the input, in float32.

        The network runs in the precision of the run. An output of several tensors stays a tuple.
        """
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            output = network(batch[0])
        return tuple(o.float() for o in output) if isinstance(output, tuple) else output.float()

    @abstractmethod
    def criterion(self, prediction: Any, batch: Any) -> Tensor:
        """Return the mean loss of a result of `predict` on its batch, a scalar."""

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Return the mean loss of a network on a batch, a scalar."""
        return self.criterion(self.predict(network, batch), batch)

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


def _tell_packaged(data: Any) -> None:
    """Say on standard error which images a run takes from the package, since none are named."""
    if not isinstance(data, Strict):
        return
    fallen = [
        f"data.{split}"
        for split, images in data
        if split not in data.model_fields_set and getattr(images, "packaged", None) is not None
    ]
    if fallen:
        print(
            f"note: {' and '.join(fallen)} not given: photographs packaged with scikit-image serve",
            file=sys.stderr,
        )
