"""Batches of labelled image files, shuffled and augmented as for ImageNet.

torchvision is imported only where it is used, because the import takes seconds.
"""

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from srnas.data.draws import DrawStream, drawn, seeded
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.tasks.classification.labelled import ClassBatch, LabelledFiles

Transform = Callable[[Any], Tensor]  # from a PIL image to a uint8 tensor


class FolderBatches(DrawStream):
    """An endless iterator over shuffled, augmented batches of image files.

    The augmentation is the one that DARTS uses for ImageNet: a random resized crop, a random
    horizontal flip and, unless the split has none, colour jitter (DARTS' training has it, PC-DARTS'
    search has not).

    Args:
        batch_size, process, workers: See `DrawStream`.

    Yields:
        Batches (images, labels) in the format of `ImageBatches`; the height and width of the images
        are the split's `image_size`.

    Raises:
        UserError: A file cannot be read, or the number of processes does not divide `batch_size`.
    """

    def __init__(
        self, split: LabelledFiles, batch_size: int, seed: int, process: Process, workers: int = 0
    ) -> None:
        draws = _FileDraws(split, seed)
        super().__init__(draws, len(split), batch_size, process, workers)
        self.normalization = split.normalization

    def __next__(self) -> ClassBatch:
        images, labels = super().__next__()
        return self.normalization(images), labels


class Files(Dataset[tuple[Tensor, int]]):
    """A map-style data set of transformed images and their labels.

    Raises:
        UserError: A file cannot be read (on access).
    """

    def __init__(self, split: LabelledFiles, transform: Transform) -> None:
        from torchvision.datasets.folder import default_loader

        self.samples, self.load, self.transform = split.samples, default_loader, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        try:
            image = self.load(path)
        except Image.DecompressionBombError as error:
            raise UserError(f"{path}: {error} Remove the file, or make it smaller") from error
        except (OSError, ValueError, SyntaxError) as error:  # what PIL raises for broken files
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(f"{path}: cannot be read ({error.strerror})") from error
            raise UserError(f"{path}: not a readable image; replace or remove the file") from error
        return self.transform(image), label


class _FileDraws(Dataset[tuple[Tensor, int]]):
    """Map a draw number to an augmented uint8 image and its label."""

    def __init__(self, split: LabelledFiles, seed: int) -> None:
        self.files, self.seed = Files(split, _augmentation(split)), seed

    def __getitem__(self, draw: int) -> tuple[Tensor, int]:
        with seeded(self.seed, draw):
            return self.files[drawn(self.seed, draw, len(self.files))]


def _augmentation(split: LabelledFiles) -> Transform:
    from torchvision import transforms

    jitter = transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    transform: Transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(split.image_size),
            transforms.RandomHorizontalFlip(),
            *([jitter] if split.color_jitter else []),
            transforms.PILToTensor(),
        ]
    )
    return transform


def middle_crop(size: int) -> Transform:
    """Return a transformation that resizes an image and crops its centre.

    The shorter side is resized to 8/7 of `size`. The result has shape (3, size, size), uint8.
    """
    from torchvision import transforms

    transform: Transform = transforms.Compose(
        [transforms.Resize(size * 8 // 7), transforms.CenterCrop(size), transforms.PILToTensor()]
    )
    return transform
