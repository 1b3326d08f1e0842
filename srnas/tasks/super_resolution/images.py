"""The images of a run, opened from its options."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from srnas.data.images import ImagePair, pair_folders, select
from srnas.data.options import ImagesOptions, PatchOptions
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import PatchSampler
from srnas.distributed import Process, primary_first
from srnas.errors import UserError
from srnas.tasks.base import Batches
from srnas.tasks.super_resolution.basicsr_stream import BasicSRStream


def open_splits(
    data: PatchOptions, splits: Sequence[str], scale: int
) -> tuple[dict[str, ImagesOptions], dict[str, list[ImagePair]]]:
    """Open the images of the splits of `data` that are given.

    Returns:
        The options of each split, and the pairs of those that are not BasicSR's.

    Raises:
        UserError: Images are missing, or one image file is in two splits.
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
    """Return the pairs that the options describe; `where` names them in error messages."""
    if images.packaged is not None:
        return packaged_pairs(images.packaged)
    assert images.hr is not None, images
    return select(pair_folders(images.hr, images.lr, scale), images.images, where)


def check_disjoint(splits: Mapping[str, Sequence[ImagePair]]) -> None:
    """Raise UserError if one image file serves two purposes."""
    owner: dict[Path, str] = {}
    for split, pairs in splits.items():
        for pair in pairs:
            path = pair.hr.resolve()
            if owner.setdefault(path, split) != split:
                raise UserError(f"data: {pair.hr} is in both {owner[path]} and {split}")


def open_batches(
    pairs: Sequence[ImagePair] | None,
    images: ImagesOptions,
    data: PatchOptions,
    scale: int,
    seed: int,
    process: Process,
) -> Batches:
    """Return the batches of one split: patches of `pairs`, or else of BasicSR's data set."""
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
