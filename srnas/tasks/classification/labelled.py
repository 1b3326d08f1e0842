"""Labelled images: tensors in memory, or image files that are read on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple, cast

import torch
from torch import Tensor

from srnas.errors import UserError

RGB = tuple[float, float, float]
ClassBatch = tuple[Tensor, Tensor]  # (images, labels)


class Normalization(NamedTuple):
    """Per-channel mean and standard deviation of RGB values in [0, 1].

    Attributes:
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    mean: RGB
    std: RGB

    def __call__(self, images: Tensor) -> Tensor:
        """Normalize images to (x / 255 - mean) / std.

        Args:
            images: Images of shape (B, 3, H, W), uint8.

        Returns:
            float32 images of the same shape and memory format.
        """
        mean, std = (torch.tensor(value, device=images.device).view(3, 1, 1) for value in self)
        return (images.float() / 255 - mean) / std

    @classmethod
    def of(cls, images: Tensor) -> "Normalization":
        """Compute the normalization of images of shape (N, 3, H, W), uint8.

        The statistics are taken over all pixels of a channel. They are computed from its
        histogram, in float64.
        """
        values = torch.arange(256, dtype=torch.float64) / 255
        means, stds = [], []
        for channel in images.unbind(1):
            share = channel.flatten().bincount(minlength=256).double() / channel.numel()
            means.append(float(share @ values))
            stds.append(float(share @ (values - means[-1]) ** 2) ** 0.5)
        return cls(cast(RGB, tuple(means)), cast(RGB, tuple(stds)))


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images in memory.

    Attributes:
        images: RGB images of shape (N, 3, H, W), uint8.
        labels: Class labels of shape (N,), int64, starting at 0.
        normalization: Normalization that networks expect.
    """

    images: Tensor
    labels: Tensor
    normalization: Normalization

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, first: float, last: float) -> "LabelledImages":
        """Return the images between two fractions of the data set, in their original order.

        Adjacent subsets are disjoint and leave no image out: `subset(0, 0.5)` and
        `subset(0.5, 1)` are the two halves that DARTS searches on.

        Args:
            first: Fraction at which the subset starts, from 0 to 1.
            last: Fraction at which it ends, above `first` and at most 1.

        Raises:
            UserError: The fractions are out of range, or the subset is empty.
        """
        kept = _between(first, last, len(self))
        _check_subset(first, last, len(range(len(self))[kept]))
        return replace(self, images=self.images[kept], labels=self.labels[kept])


@dataclass(frozen=True)
class LabelledFiles:
    """Labelled image files, read on demand.

    Attributes:
        samples: Pairs of an image file and its class label, grouped by class; labels start at 0.
        image_size: Side of the square crops that a network receives, in pixels.
        normalization: Normalization that networks expect.
        color_jitter: Whether the augmentation changes brightness, contrast, saturation and hue.
    """

    samples: Sequence[tuple[str, int]]
    image_size: int
    normalization: Normalization
    color_jitter: bool = True

    def __len__(self) -> int:
        return len(self.samples)

    def subset(self, first: float, last: float) -> "LabelledFiles":
        """Return the files between two fractions of each class, in their original order.

        `LabelledImages.subset` explains the fractions; here they apply to every class separately.
        PC-DARTS searches on 0.1 and 0.025 of each ImageNet class.

        Raises:
            UserError: The fractions are out of range, or the subset is empty.
        """
        kept = list(self._between(first, last))
        _check_subset(first, last, len(kept))
        return replace(self, samples=kept)

    def _between(self, first: float, last: float) -> Iterator[tuple[str, int]]:
        for _, samples in groupby(self.samples, key=lambda sample: sample[1]):
            of_class = list(samples)
            yield from of_class[_between(first, last, len(of_class))]


Labelled = LabelledImages | LabelledFiles


def _between(first: float, last: float, count: int) -> slice:
    return slice(int(first * count), int(last * count))


def _check_subset(first: float, last: float, count: int) -> None:
    if not 0 <= first < last <= 1 or not count:
        raise UserError(
            f"data: the part from {first} to {last} has no images; give two shares between 0 "
            "and 1, the smaller one first, wide enough for an image"
        )
