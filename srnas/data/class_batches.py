"""Batches of labelled images, in memory or in files: for training, and for evaluation."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from srnas.data.draws import one_line_errors, to_device
from srnas.data.folder_batches import Files, FolderBatches, middle_crop
from srnas.data.image_batches import ImageBatches
from srnas.data.labelled import ClassBatch, Labelled, LabelledImages
from srnas.errors import UserError


def training_batches(
    split: Labelled,
    batch_size: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    cutout: int = 0,
    workers: int = 0,
) -> ImageBatches | FolderBatches:
    """The stream that fits the split: `cutout` is for images in memory, `workers` for files.

    UserError for cutout of files.
    """
    if isinstance(split, LabelledImages):
        return ImageBatches(split, batch_size, seed, device, rank, world, cutout)
    if cutout:
        raise UserError("data.cutout: not for a folder of images; leave it at 0")
    return FolderBatches(split, batch_size, seed, device, rank, world, workers)


def evaluation_batches(
    split: Labelled, batch_size: int, device: torch.device, workers: int = 0
) -> Iterator[ClassBatch]:
    """All images once, in order, normalized, the last batch perhaps smaller; as `ImageBatches`.

    Of files the middle is taken, 7/8 of the shorter side (224 of 256 pixels), as usual for
    ImageNet; `workers` processes read them. UserError for a file that cannot be read.
    """
    if isinstance(split, LabelledImages):
        pairs = zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True)
    else:
        loader = DataLoader(
            Files(split, middle_crop(split.image_size)),
            batch_size,
            num_workers=workers,
            generator=torch.Generator(),  # else it draws from the global one
            pin_memory=device.type == "cuda",
        )
        pairs = one_line_errors(loader)
    for images, labels in pairs:
        yield split.normalization(to_device(images, device)), to_device(labels, device)
