"""The images of a super-resolution run, opened from its options."""

from collections.abc import Sequence

import torch

from srnas.data.images import ImagePair, check_disjoint, pair_folders, select
from srnas.data.options import ImagesOptions, PatchOptions
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import PatchSampler
from srnas.distributed import Process, primary_first
from srnas.tasks.base import Batches
from srnas.tasks.super_resolution.basicsr_stream import BasicSRStream


def open_splits(
    data: PatchOptions, splits: Sequence[str], scale: int
) -> tuple[dict[str, ImagesOptions], dict[str, list[ImagePair]]]:
    """Open the images of all given splits.

    Args:
        data: Options of the data.
        splits: Names of the splits; those that the options leave out are skipped.
        scale: Scale factor.

    Returns:
        The options of each split, and the pairs of the splits that do not use BasicSR's data sets.

    Raises:
        UserError: Images are missing, or an image file is in two splits.
    """
    named = {split: getattr(data, split) for split in splits}
    sources: dict[str, ImagesOptions] = {s: images for s, images in named.items() if images}
    pairs = {
        split: open_images(f"data.{split}", scale, images)
        for split, images in sources.items()
        if not images.basicsr
    }
    check_disjoint(pairs)
    return sources, pairs


def open_images(where: str, scale: int, images: ImagesOptions) -> list[ImagePair]:
    """Return the pairs that the options describe.

    Args:
        where: Name of the option in error messages.
        scale: Scale factor.
        images: Options of the split.

    Raises:
        UserError: Images are missing, or the range does not fit.
    """
    if images.packaged is not None:
        return packaged_pairs(images.packaged)
    assert images.hr is not None, images
    return select(pair_folders(images.hr, images.lr, scale), images.images, where)


def open_batches(
    pairs: Sequence[ImagePair] | None,
    images: ImagesOptions,
    data: PatchOptions,
    scale: int,
    seed: int,
    process: Process,
) -> Batches:
    """Return the batches of one split.

    Args:
        pairs: Pairs to draw patches from; None for a data set of BasicSR.
        images: Options of the split.
        data: Options of the data.
        scale: Scale factor.
        seed: Seed of the stream.
        process: Device and rank of this process.
    """
    device: torch.device = process.device
    if pairs is not None:
        with primary_first(process):
            return PatchSampler(
                pairs,
                scale,
                data.hr_patch,
                data.batch_size,
                seed,
                device,
                process.rank,
                process.world,
                data.keep,
                data.cache,
            )
    assert images.basicsr is not None, images
    return BasicSRStream(
        images.basicsr,
        scale,
        data.hr_patch,
        data.batch_size,
        seed,
        device,
        process.rank,
        process.world,
        data.workers,
    )
