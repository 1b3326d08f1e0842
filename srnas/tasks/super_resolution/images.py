"""The images of a super-resolution run, opened from its options."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from srnas.data.images import (
    ImagePair,
    LRImage,
    TrainingImage,
    check_disjoint,
    list_images,
    pair_folders,
    select,
)
from srnas.data.options import ImagesOptions, PatchOptions, listed
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import PatchSampler
from srnas.data.pixels import Pixels
from srnas.data.taught import Taught
from srnas.data.terms import PACKAGED_TERMS, sources_of
from srnas.distributed import Process, primary_first
from srnas.tasks.base import Batches
from srnas.tasks.super_resolution.basicsr_stream import BasicSRStream

Teach = Callable[[list[TrainingImage], Pixels], Taught]
"""Maps images and their LR pixels to a teacher's outputs."""


@dataclass(frozen=True)
class Split:
    """The images of a split.

    Attributes:
        options: Where they come from.
        images: The images; none for a data set of BasicSR.
    """

    options: ImagesOptions
    images: list[TrainingImage]

    @property
    def pairs(self) -> list[ImagePair]:
        """Those with HR."""
        return [image for image in self.images if isinstance(image, ImagePair)]

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Number and terms of the images of each folder, see `sources_of`."""
        if self.options.packaged is not None:
            name, count = f"packaged {self.options.packaged}", len(self.images)
            return [{"folder": name, "images": count, "terms": PACKAGED_TERMS}]
        return sources_of(self.images)


def open_splits(data: PatchOptions, names: Sequence[str], scale: int) -> dict[str, Split]:
    """Open the images of all given splits.

    Args:
        names: Names of the splits; those that the options leave out are skipped.

    Raises:
        UserError: Images are missing, or an image file is in two splits.
    """
    named = {name: getattr(data, name) for name in names}
    splits = {
        name: Split(options, open_images(f"data.{name}", scale, options))
        for name, options in named.items()
        if options
    }
    check_disjoint({name: split.images for name, split in splits.items()})
    return splits


def open_images(where: str, scale: int, options: ImagesOptions) -> list[TrainingImage]:
    """Return the images that the options describe, those without HR last.

    Raises:
        UserError: Images are missing, or the range does not fit.
    """
    if options.basicsr is not None:
        return []
    if options.packaged is not None:
        return [*packaged_pairs(options.packaged)]
    hr, lr = listed(options.hr), listed(options.lr)
    folders: list[Path | None] = [*lr] if lr else [None] * len(hr)
    pairs = [
        pair
        for hr_folder, lr_folder in zip(hr, folders, strict=True)
        for pair in pair_folders(hr_folder, lr_folder, scale)
    ]
    alone = [LRImage(f.stem, f) for one in listed(options.lr_only) for f in list_images(one)]
    return [*select(pairs, options.images, where), *alone]


def pooled(splits: Sequence[Split]) -> Split:
    """Join splits; data sets of BasicSR are not joined, the first one counts."""
    first = splits[0]
    if first.options.basicsr is not None:
        return first
    return replace(first, images=[image for split in splits for image in split.images])


def open_batches(
    split: Split,
    data: PatchOptions,
    scale: int,
    seed: int,
    process: Process,
    teach: Teach | None = None,
) -> Batches:
    """Return the batches of one split.

    Args:
        teach: Returns a teacher's outputs for whole images.
    """
    if split.options.basicsr is None:
        with primary_first(process):
            return PatchSampler(
                split.images,
                scale,
                data.hr_patch,
                data.batch_size,
                seed,
                process,
                data.keep,
                data.cache,
                (lambda lr: teach(split.images, lr)) if teach else None,
            )
    return BasicSRStream(
        split.options.basicsr, scale, data.hr_patch, data.batch_size, seed, process, data.workers
    )
