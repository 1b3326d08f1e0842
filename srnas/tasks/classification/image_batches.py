"""Batches of labelled images in memory, shuffled and augmented on the device."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srnas.data.draws import position, share
from srnas.distributed import Process
from srnas.tasks.classification.labelled import ClassBatch, LabelledImages


class ImageBatches:
    """An endless iterator over shuffled, augmented batches of images in memory.

    Every pass over the images has a new order. Passes follow one another without a gap, so that a
    batch may end one pass and begin the next.

    The augmentation is the one that DARTS uses for CIFAR: zero padding by an eighth of the image
    height (4 pixels for CIFAR, 2 for ImageNet16), a random crop of the original size, a random
    horizontal flip, normalization and cutout. It runs on the device, where the images are kept as
    uint8.

    Args:
        batch_size: Number of images in a batch, summed over all processes.
        cutout: Side in pixels of a square around a random pixel that is set to 0, the mean of
            normalized images (DeVries and Taylor, arXiv:1708.04552); 0 for no cutout. The square
            is clipped at the image borders. As in DARTS' code, an odd side is rounded down to an
            even one.

    Yields:
        Batches (images, labels): normalized float32 images of shape (B, 3, H, W) in channels-last
        memory format, and int64 labels of shape (B,).

    Raises:
        UserError: the number of processes does not divide `batch_size`.
    """

    def __init__(
        self, split: LabelledImages, batch_size: int, seed: int, process: Process, cutout: int = 0
    ) -> None:
        self.count, self.batch_size, self.seed = len(split), batch_size, seed
        self.mine = share(batch_size, process)
        self.images = split.images.to(process.device).permute(0, 2, 3, 1).contiguous()
        self.labels = split.labels.to(process.device)
        self.normalization = split.normalization
        self.cutout = cutout
        self.done = 0  # number of batches so far
        self._plan: tuple[int, Tensor] = (-1, torch.empty(0))  # last planned pass and its draws

    def __iter__(self) -> "ImageBatches":
        return self

    def __next__(self) -> ClassBatch:
        draws = self._draws(self.done * self.batch_size)[self.mine].to(self.images.device)
        self.done += 1
        index, top, left, flip, row, column = draws.unbind(1)
        images = self.normalization(self._cropped(index, top, left, flip))
        if self.cutout:
            images = _cut_out(images, row, column, self.cutout // 2)
        return images, self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position that `state_dict` returned; ValueError if the state is none."""
        self.done = position(state["done"])

    def _draws(self, first: int) -> Tensor:
        """Return the draws of a batch that starts at draw `first`, of shape (batch_size, 6)."""
        rows, wanted = [], self.batch_size
        while wanted:
            turn, place = divmod(first, self.count)
            rows.append(self._pass(turn)[place : place + wanted])
            first, wanted = first + len(rows[-1]), wanted - len(rows[-1])
        return torch.cat(rows)

    def _pass(self, turn: int) -> Tensor:
        """Return the draws of pass `turn` over the images, of shape (count, 6).

        The columns are the image index, the crop's top and left, whether the crop is flipped, and
        the row and column of the cutout's centre.
        """
        if self._plan[0] != turn:
            rng = np.random.default_rng((self.seed, turn))
            height, width = self.images.shape[1:3]
            room = 2 * self._padding + 1
            ranges = (room, room, 2, height, width)
            columns = [rng.permutation(self.count)]
            columns += [rng.integers(end, size=self.count) for end in ranges]
            self._plan = turn, torch.from_numpy(np.stack(columns, axis=1))
        return self._plan[1]

    @property
    def _padding(self) -> int:
        return self.images.shape[1] // 8

    def _cropped(self, index: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Crop and flip images; the arguments have shape (B,), the result (B, 3, H, W), uint8."""
        height, width = self.images.shape[1:3]
        around = [self._padding] * 4
        padded = F.pad(self.images[index], (0, 0, *around))
        row = torch.arange(height, device=index.device) + top[:, None]
        column = torch.arange(width, device=index.device).expand(len(index), -1)
        column = torch.where(flip[:, None] == 1, width - 1 - column, column) + left[:, None]
        batch = torch.arange(len(index), device=index.device)[:, None, None]
        return padded[batch, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, row: Tensor, column: Tensor, half: int) -> Tensor:
    """Set a square of images (B, C, H, W) to 0.

    The square covers rows [row - half, row + half) and columns [column - half, column + half).
    """

    def near(centre: Tensor, length: int) -> Tensor:
        distance = torch.arange(length, device=centre.device) - centre[:, None]
        return (distance >= -half) & (distance < half)

    rows, columns = near(row, images.shape[2]), near(column, images.shape[3])
    return images * ~(rows[:, :, None] & columns[:, None, :])[:, None]  # keeps channels-last format
