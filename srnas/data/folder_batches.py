"""Batches of labelled image files, shuffled and augmented as for ImageNet.

torchvision is imported where it is used: that takes seconds, which nothing else should wait for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from srnas.data.draws import DrawStream, drawn, seeded
from srnas.data.labelled import ClassBatch, LabelledFiles
from srnas.errors import UserError

Transform = Callable[[Any], Tensor]  # of a PIL image


class FolderBatches(DrawStream):
    """An endless iterator over shuffled, augmented batches of image files.

    Augmentation is DARTS' for ImageNet: random resized crop, horizontal flip, colour jitter.

    batch_size, rank, world, workers: as in `DrawStream`. Yields as `ImageBatches` does, of the
    split's image_size. UserError for a file that cannot be read.
    """

    def __init__(
        self,
        split: LabelledFiles,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        draws = _FileDraws(split, seed)
        super().__init__(draws, len(split), batch_size, device, rank, world, workers)
        self.normalization = split.normalization

    def __next__(self) -> ClassBatch:
        images, labels = super().__next__()
        return self.normalization(images), labels


class Files(Dataset):
    """Sample number -> (uint8 image, label)."""

    def __init__(self, split: LabelledFiles, transform: Transform) -> None:
        from torchvision.datasets.folder import default_loader

        self.samples, self.load, self.transform = split.samples, default_loader, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        try:
            image = self.load(path)
        except (OSError, ValueError, SyntaxError) as error:  # PIL's, of broken files
            raise UserError(f"{path}: not a readable image; replace or remove the file") from error
        return self.transform(image), label


class _FileDraws(Dataset):
    """Draw number -> (augmented uint8 image, label)."""

    def __init__(self, split: LabelledFiles, seed: int) -> None:
        self.files, self.seed = Files(split, _random_crop(split.image_size)), seed

    def __getitem__(self, draw: int) -> tuple[Tensor, int]:
        with seeded(self.seed, draw):
            return self.files[drawn(self.seed, draw, len(self.files))]


def _random_crop(size: int) -> Transform:
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
            transforms.PILToTensor(),
        ]
    )


def middle_crop(size: int) -> Transform:
    """PIL image -> (3, size, size) uint8: the middle of the image resized to 8/7 of `size`."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(size * 8 // 7),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
        ]
    )
