"""Batches of labelled images for training and evaluation, from memory or from files."""

from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from srnas.data.draws import one_line_errors, to_device
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.tasks.classification.folder_batches import Files, FolderBatches, middle_crop
from srnas.tasks.classification.image_batches import ImageBatches
from srnas.tasks.classification.labelled import ClassBatch, Labelled, LabelledImages


def training_batches(
    split: Labelled, batch_size: int, seed: int, process: Process, cutout: int = 0, workers: int = 0
) -> ImageBatches | FolderBatches:
    """Return an endless stream of shuffled, augmented training batches.

    Args:
        split: Images to train on; the stream is `ImageBatches` for images in memory and
            `FolderBatches` for files.
        batch_size: Number of images in a batch, summed over all processes.
        cutout: Side of the cutout square in pixels, for images in memory only; 0 for none.
        workers: Number of processes that read files; not used for images in memory.

    Raises:
        UserError: `cutout` is given for files, or processes do not divide `batch_size`.
    """
    if isinstance(split, LabelledImages):
        return ImageBatches(split, batch_size, seed, process, cutout)
    if cutout:
        raise UserError("data.cutout: not for a folder of images; leave it at 0")
    return FolderBatches(split, batch_size, seed, process, workers)


def evaluation_batches(
    split: Labelled, batch_size: int, device: torch.device, workers: int = 0
) -> Iterator[ClassBatch]:
    """Iterate once over all images in order, without augmentation.

    Files are cropped at the centre: the crop's side is 7/8 of the image's shorter side, as usual
    for ImageNet (224 of 256 pixels).

    Args:
        batch_size: Number of images in a batch; the last batch may be smaller.
        workers: Number of processes that read files; not used for images in memory.

    Yields:
        Batches (images, labels) in the format of `ImageBatches`.

    Raises:
        UserError: A file cannot be read.
    """
    pairs: Iterable[ClassBatch]
    if isinstance(split, LabelledImages):
        pairs = zip(
            torch.split(split.images, batch_size),
            torch.split(split.labels, batch_size),
            strict=True,
        )
    else:
        loader = DataLoader(
            Files(split, middle_crop(split.image_size)),
            batch_size,
            num_workers=workers,
            generator=torch.Generator(),  # otherwise it advances the global one
            pin_memory=device.type == "cuda",
        )
        pairs = one_line_errors(loader)
    for images, labels in pairs:
        yield split.normalization(to_device(images, device)), to_device(labels, device)
