"""Batches of labelled images in memory, shuffled and augmented on the device."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srnas.data.draws import share
from srnas.data.labelled import ClassBatch, LabelledImages


class ImageBatches:
    """An endless iterator over shuffled, augmented batches of images in memory.

    Pass after pass over all images, each in an order of its own, one after the other without a
    gap: a batch may end one pass and begin the next. Augmentation is DARTS' for CIFAR: zeros
    around the image, an eighth of its height wide (4 pixels for CIFAR, 2 for ImageNet16), a
    random crop of the image's size, a random horizontal flip, normalization, cutout. All of it
    happens on the device, where the images live as uint8.

    cutout: side of the square set to zero (the mean) round a random pixel (DeVries, Taylor,
        arXiv:1708.04552), cut off at the borders; 0 for none, and an odd side counts as the even
        one below, as in DARTS' code.
    batch_size, rank, world: as in `share`.

    Yields (images, labels): (B, 3, H, W) float32, normalized, in channels-last memory, and (B,)
    int64.
    """

    def __init__(
        self,
        split: LabelledImages,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        cutout: int = 0,
    ) -> None:
        self.count, self.batch_size, self.seed = len(split), batch_size, seed
        self.mine = share(batch_size, rank, world)
        self.images = split.images.to(device).permute(0, 2, 3, 1).contiguous()
        self.labels = split.labels.to(device)
        self.normalization = split.normalization
        self.cutout = cutout
        self.done = 0  # batches
        self._plan: tuple[int, Tensor] = (-1, torch.empty(0))  # of a pass, and its number

    def __iter__(self) -> "ImageBatches":
        return self

    def __next__(self) -> ClassBatch:
        draws = self._draws(self.done * self.batch_size)[self.mine].to(self.images.device)
        self.done += 1
        index, top, left, flip, *centre = draws.unbind(1)
        images = self.normalization(self._cropped(index, top, left, flip))
        if self.cutout:
            images = _cut_out(images, *centre, self.cutout // 2)
        return images, self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.done = state["done"]

    def _draws(self, first: int) -> Tensor:
        """(batch_size, 6): the draws from number `first` on."""
        rows, wanted = [], self.batch_size
        while wanted:
            turn, place = divmod(first, self.count)
            rows.append(self._pass(turn)[place : place + wanted])
            first, wanted = first + len(rows[-1]), wanted - len(rows[-1])
        return torch.cat(rows)

    def _pass(self, turn: int) -> Tensor:
        """(count, 6): image, crop's top and left, whether flipped, row and column of cutout."""
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
        """(B,) each -> (B, 3, H, W) uint8 crops."""
        height, width = self.images.shape[1:3]
        around = [self._padding] * 4
        padded = F.pad(self.images[index], (0, 0, *around))
        row = torch.arange(height, device=index.device) + top[:, None]
        column = torch.arange(width, device=index.device).expand(len(index), -1)
        column = torch.where(flip[:, None] == 1, width - 1 - column, column) + left[:, None]
        batch = torch.arange(len(index), device=index.device)[:, None, None]
        return padded[batch, row[:, :, None], column[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, row: Tensor, column: Tensor, half: int) -> Tensor:
    """(B, C, H, W) with zeros within `half` of (row, column), the upper ends left out."""

    def near(centre: Tensor, length: int) -> Tensor:
        distance = torch.arange(length, device=centre.device) - centre[:, None]
        return (distance >= -half) & (distance < half)

    rows, columns = near(row, images.shape[2]), near(column, images.shape[3])
    return images * ~(rows[:, :, None] & columns[:, None, :])[:, None]  # stays channels-last
