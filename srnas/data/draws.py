"""Endless shuffled batches that depend on a seed and their number alone.

Draw number d is the item at place d % N in pass d // N over N items, and every pass has an order
of its own. So a stream is the same for any number of workers and processes, and goes on from
a saved position.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from srnas.errors import UserError


class DrawStream:
    """An endless iterator over batches of draws, which DataLoader's workers make.

    draws: draw number -> tuple of tensors, the same whenever it is asked. count: items of a
    pass. workers: processes that read ahead. rank, world: as in `share`.

    Yields the draws' tensors batched, on `device`, images in channels-last memory. UserError as
    `draws` raises it, in one line whoever made the batch.
    """

    def __init__(
        self,
        draws: Dataset,
        count: int,
        batch_size: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        self.draws, self.count = draws, count
        self.batch_size, self.device = batch_size, device
        self.mine = share(batch_size, rank, world)
        self.workers = workers
        self.done = 0  # batches
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
        """The position in the stream."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.done, self._batches = state["done"], None

    def _loader(self) -> DataLoader:
        size, mine = self.batch_size, self.mine
        return DataLoader(
            self.draws,
            batch_sampler=(list(range(b * size, b * size + size))[mine] for b in count(self.done)),
            num_workers=self.workers,
            generator=torch.Generator(),  # else it draws from the global one
            pin_memory=self.device.type == "cuda",
        )


def share(batch_size: int, rank: int, world: int) -> slice:
    """The draws of a common batch that process `rank` takes: every world-th.

    A run then sees the same data on any number of processes. UserError if `batch_size` is not a
    multiple of `world`.
    """
    if batch_size % world:
        raise UserError(f"data.batch_size: {batch_size} is not a multiple of {world} processes")
    return slice(rank, None, world)


def drawn(seed: int, draw: int, count: int) -> int:
    """Which of `count` items draw number `draw` takes."""
    turn, place = divmod(draw, count)
    return int(_order(seed, turn, count)[place])


@lru_cache(maxsize=4)  # two streams, each between two passes; ImageNet's order takes 10 MB
def _order(seed: int, turn: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, turn)).permutation(count)


@contextmanager
def seeded(seed: int, draw: int) -> Iterator[None]:
    """The global random generators of Python, NumPy and torch (CPU), seeded for one draw.

    They are left as they were.
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
    """The batches; a UserError of a worker comes with its traceback, of which this strips it."""
    try:
        yield from batches
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`, images (B, C, H, W) in channels-last memory."""
    layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(device, non_blocking=True, memory_format=layout)
