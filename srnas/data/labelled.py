"""Images with class labels: all in memory, or as files that are read when needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from srnas.errors import UserError

RGB = tuple[float, float, float]
ClassBatch = tuple[Tensor, Tensor]  # images, labels


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, of values in [0, 1]."""

    mean: RGB
    std: RGB

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32 (x / 255 - mean) / std, in the same memory format."""
        mean, std = (torch.tensor(value, device=images.device).view(3, 1, 1) for value in self)
        return (images.float() / 255 - mean) / std

    @classmethod
    def of(cls, images: Tensor) -> "Normalization":
        """That of all pixels of (N, 3, H, W) uint8 images, from their histogram."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in images.unbind(1):
            share = channel.flatten().bincount(minlength=256).double() / channel.numel()
            means.append(float(share @ values))
            stds.append(float(share @ (values - means[-1]) ** 2) ** 0.5)
        return cls(tuple(means), tuple(stds))


@dataclass(frozen=True)
class LabelledImages:
    """images: (N, 3, H, W) uint8 RGB. labels: (N,) int64, from 0."""

    images: Tensor
    labels: Tensor
    normalization: Normalization

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, first: float, last: float) -> "LabelledImages":
        """The images from share `first` to share `last` of all, in their order.

        Parts that meet in a share have no image in common and leave none out: `part(0, 0.5)` and
        `part(0.5, 1)` are the halves that DARTS searches with. UserError for an empty part.
        """
        kept = _between(first, last, len(self))
        _check_part(first, last, len(range(len(self))[kept]))
        return replace(self, images=self.images[kept], labels=self.labels[kept])


@dataclass(frozen=True)
class LabelledFiles:
    """samples: (image file, label from 0), class after class. image_size: side that the images
    are cropped to."""

    samples: Sequence[tuple[str, int]]
    image_size: int
    normalization: Normalization

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, first: float, last: float) -> "LabelledFiles":
        """As `LabelledImages.part`, of every class: PC-DARTS searches with 0.1 and 0.025 of
        each ImageNet class."""
        kept = list(self._between(first, last))
        _check_part(first, last, len(kept))
        return replace(self, samples=kept)

    def _between(self, first: float, last: float) -> Iterator[tuple[str, int]]:
        for _, samples in groupby(self.samples, key=lambda sample: sample[1]):
            of_class = list(samples)
            yield from of_class[_between(first, last, len(of_class))]


Labelled = LabelledImages | LabelledFiles


def _between(first: float, last: float, count: int) -> slice:
    return slice(int(first * count), int(last * count))


def _check_part(first: float, last: float, count: int) -> None:
    if not 0 <= first < last <= 1 or not count:
        raise UserError(
            f"data: the part from {first} to {last} has no images; give two shares between 0 "
            "and 1, the smaller one first, wide enough for an image"
        )
