"""Endless streams of shuffled batches that depend only on a seed and the number of the batch.

Draw number d is the item at position d % N of pass d // N over the N items, and every pass has
its own order. A stream is therefore the same for any number of workers and processes, and can
continue from a saved position.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from srnas.distributed import Process
from srnas.errors import UserError, short
from srnas.fast.memory_format import layout

LARGEST_POSITION = 1 << 40  # batches


class DrawStream:
    """An endless iterator over batches of draws, made by the workers of a DataLoader.

    Args:
        draws: Maps a draw number to a tuple of tensors or numbers, always the same for the same
            number.
        count: Number of items in a pass.
        batch_size: Number of draws in a batch, over all processes.
        process: Where the batches go, and whose share they are.
        workers: Number of worker processes that read ahead; with 0 this process reads.

    Yields:
        The batched tensors of the draws, on `device`, images in channels-last memory.

    Raises:
        UserError: As raised by `draws`, in one line even if it comes from a worker.
    """

    def __init__(
        self, draws: Dataset[Any], count: int, batch_size: int, process: Process, workers: int = 0
    ) -> None:
        self.draws, self.count = draws, count
        self.batch_size, self.device = batch_size, process.device
        self.mine = share(batch_size, process)
        self.workers = workers
        self.done = 0  # number of batches returned so far
        self._batches: Iterator[Any] | None = None

    def __iter__(self) -> "DrawStream":
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        if self._batches is None:
            self._batches = one_line_errors(self._loader())
        batch = next(self._batches)
        self.done += 1
        return tuple(to_device(tensor, self.device) for tensor in batch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; ValueError if the state is no position."""
        self.done, self._batches = position(state["done"]), None

    def _loader(self) -> DataLoader[Any]:
        size, mine = self.batch_size, self.mine
        return DataLoader(
            self.draws,
            batch_sampler=(list(range(b * size, b * size + size))[mine] for b in count(self.done)),
            num_workers=self.workers,
            generator=torch.Generator(),  # otherwise it advances the global one
            pin_memory=self.device.type == "cuda",
        )


def share(batch_size: int, process: Process) -> slice:
    """Return the part of a batch that belongs to one process: every `world`-th draw.

    With this a run sees the same data on any number of processes.

    Raises:
        UserError: The size, over all processes, is not a multiple of their number.
    """
    if batch_size % process.world:
        raise UserError(
            f"data.batch_size: {batch_size} is not a multiple of {process.world} processes"
        )
    return slice(process.rank, None, process.world)


def position(done: Any) -> int:
    """Return a number of batches out of a checkpoint.

    Raises:
        ValueError: It is not a number, or so large that no run has got there.
    """
    if type(done) is not int or not 0 <= done <= LARGEST_POSITION:
        raise ValueError(f"the position in the stream of batches is {short(done)}")
    return done


def drawn(seed: int, draw: int, count: int) -> int:
    """Return the index, below `count`, of the item that draw number `draw` takes."""
    turn, place = divmod(draw, count)
    return int(_order(seed, turn, count)[place])


# Two streams, each in transition between two passes; the order of ImageNet takes 10 MB.
@lru_cache(maxsize=4)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, turn)).permutation(count)


@contextmanager
def seeded(seed: int, draw: int) -> Iterator[None]:
    """Seed the global random generators of Python, NumPy and torch (CPU) for one draw.

    On exit their previous states are restored.
    """
    number = int(np.random.SeedSequence((seed, draw)).generate_state(1)[0])
    kept = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


def one_line_errors(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches, and reduce a worker's UserError to its one line.

    DataLoader puts the traceback of the worker into the message; this removes it.
    """
    try:
        yield from batches
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to `device`; images (B, C, H, W) go into channels-last memory."""
    memory_format = layout() if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, non_blocking=True, memory_format=memory_format)
