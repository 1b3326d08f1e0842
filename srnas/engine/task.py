"""What an engine knows of its task: batches, a loss and a validation; the rest is the task's."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from srnas.engine.distributed import Place
from srnas.options import SearchOptions, TrainOptions
from srnas.spaces import SPACES


class Task(Protocol):
    """A loss and a judgement of networks.

    val_count: how many images it validates on. score: which of a validation's figures, the
    larger the better, chooses the best weights.
    """

    val_count: int
    score: str

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """The mean loss of a batch."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures of merit on the validation images."""

    def describe(self, quality: dict[str, float]) -> str:
        """A validation in a few words."""

    def test(self, network: nn.Module) -> dict[str, float]:
        """Figures of merit of the finished network on a test split, if the data has one."""


class Batches(Protocol):
    """An endless iterator of batches that goes on from its state; `count` images are in it."""

    count: int

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def open_task(
    options: SearchOptions | TrainOptions,
    place: Place,
    streams: Sequence[str],
    pooled: bool = False,
) -> tuple[Task, list[Batches]]:
    """The task of the options' space, and batches for each of the `streams` (splits of the data).

    pooled: the first stream has the images of all. UserError for data that cannot be read, do
    not fit, or serve two purposes.
    """
    if SPACES[options.space["name"]].task == "classification":
        from srnas.engine.classification import open_classification

        return open_classification(options, place, streams, pooled)
    from srnas.engine.super_resolution import open_super_resolution

    return open_super_resolution(options, place, streams, pooled)
