"""Preparation of DIV2K: from its archives or unpacked folders to the layout that options expect.

    OUT/DIV2K_train_HR/0001.png ...     OUT/DIV2K_train_LR_bicubic/X2/0001x2.png ...
    OUT/DIV2K_valid_HR/0801.png ...     OUT/DIV2K_valid_LR_bicubic/X2/0801x2.png ...

For BasicSR's loaders, sub-images (OUT/DIV2K_train_HR_sub/0001_s001.png ...,
OUT/DIV2K_train_LR_bicubic/X2_sub/0001_s001.png ...) and LMDB databases (the same folder names with
the suffix .lmdb) can be made as well. srnas itself decodes whole images once and needs neither.
"""

import filecmp
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from srnas.basicsr_bridge import make_lmdb
from srnas.data.archives import read_blocks, unpack_images
from srnas.data.images import (
    ImagePair,
    check_file_names,
    is_image,
    list_images,
    pair_folders,
    read_rgb,
    write_rgb,
)
from srnas.errors import UserError, counted
from srnas.files import atomic_file, file_name, read_json, remove_unfinished, write_json
from srnas.progress import track

# Archives of https://data.vision.ee.ethz.ch/cvl/DIV2K/; checksums as in TensorFlow Datasets.
_SUMS = Path(__file__).with_suffix(".sha256").read_text(encoding="utf-8").splitlines()
SHA256 = {name: digest for digest, name in map(str.split, _SUMS)}


@dataclass(frozen=True)
class SubImages:
    """Overlapping square crops of HR images.

    Attributes:
        crop: Side of a crop in HR pixels.
        step: Distance between neighbouring crops in HR pixels.
    """

    crop: int = 480
    step: int = 240


def prepare(
    source: Path,
    out: Path,
    scales: Sequence[int],
    sub_images: SubImages | None = None,
    lmdb: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Fill the folder `out` with DIV2K.

    Missing LR images are made by MATLAB-equivalent bicubic downscaling. Files that exist in `out`
    are kept, so that an interrupted preparation resumes where it stopped. It ends with the same
    files as one that was not interrupted.

    Args:
        source: Folder that contains the archives or the unpacked folders.
        scales: Scale factors of the LR images.
        sub_images: How to cut the training images into sub-images; None to leave them whole.
        lmdb: Whether to write LMDB databases of the training images, or of their sub-images.
        say: Function that is called with each line of progress.

    Raises:
        UserError: DIV2K_train_HR is missing; an archive or image is broken, encrypted or larger
            than `srnas.data.headers.max_pixels` allows; two images have the same name; a file in
            `out` differs from that of the source, or cannot be written; or the sub-images do not
            fit the scales or the images.
    """
    source, out = Path(source), Path(out)
    for folder in (out, *out.glob("DIV2K_*"), *out.glob("DIV2K_*/X*")):
        remove_unfinished(folder)
    for split in ("train", "valid"):
        hr = f"DIV2K_{split}_HR"
        count = _bring(source, out / hr, hr, f"{hr}.zip", say)
        if not count and split == "train":
            raise UserError(f"{source}: holds neither {hr}.zip nor a folder {hr}/ with images")
        for scale in scales if count else ():
            lr = f"DIV2K_{split}_LR_bicubic"
            target = out / lr / f"X{scale}"
            given = _bring(source, target, f"{lr}/X{scale}", f"{lr}_X{scale}.zip", say)
            if given < count:
                make_lr(pair_folders(out / hr, None, scale), target, scale)
                say(f"{target}: {count - given} images made by bicubic")
    levels = {1: out / "DIV2K_train_HR"}
    levels |= {scale: out / "DIV2K_train_LR_bicubic" / f"X{scale}" for scale in scales}
    if sub_images:
        levels = _cut(out, levels, sub_images, say)
    for scale, folder in levels.items() if lmdb else ():
        target = folder.with_name(f"{folder.name}.lmdb")
        if not target.exists():
            make_lmdb(list_images(folder), target, partial(_key, scale=scale))
        say(f"{target}: {len(list_images(folder))} images")


def make_lr(pairs: Sequence[ImagePair], folder: Path, scale: int) -> None:
    """Write a bicubic NAMEx{scale}.png for each pair, unless the folder has one, of any suffix.

    Raises:
        UserError: An image cannot be read or written, or two of them have the same name.
    """
    check_file_names(pairs, f"x{scale}.png")
    there = {Path(name).stem for name in _images(folder)}

    def make(pair: ImagePair) -> None:
        if f"{pair.name}x{scale}" not in there:
            write_rgb(folder / f"{pair.name}x{scale}.png", pair.load(scale)[0])

    _side_by_side(make, pairs, f"{folder.name}: LR")


def _bring(
    source: Path, target: Path, folder: str, archive: str, say: Callable[[str], None]
) -> int:
    """Unpack or link one folder of images.

    Returns:
        Number of images in `target`; 0 if neither `source` nor `target` has any.
    """
    if (source / archive).is_file():
        _check_sum(source / archive, say)
        unpack_images(source / archive, target)
    elif (source / folder).is_dir() and (source / folder).resolve() != target.resolve():
        files = list_images(source / folder)
        check_file_names([ImagePair(file.stem, file) for file in files])
        _side_by_side(lambda file: _link(file, target), files, folder)
    count = len(_images(target))
    if count:
        say(f"{target}: {counted(count, 'image')}")
    return count


def _images(folder: Path) -> list[str]:
    """Return the names of the images of a folder, which may be missing or without images.

    A preparation that was killed may have left such a folder.
    """
    return [name for name in os.listdir(folder) if is_image(name)] if folder.is_dir() else []


def _check_sum(archive: Path, say: Callable[[str], None]) -> None:
    digest = hashlib.sha256()
    for block in read_blocks(archive):
        digest.update(block)
    if digest.hexdigest() != SHA256.get(archive.name):
        say(f"warning: {archive}: not the official archive (its SHA-256 differs)")


def _link(file: Path, folder: Path) -> None:
    """Hard-link a file into a folder, or copy it if the folder is on another file system."""
    target = folder / file_name(file.name, str(file.parent))
    if target.exists():
        if not (target.samefile(file) or filecmp.cmp(target, file, shallow=False)):
            raise UserError(
                f"{target} and {file} differ; delete the former, or give another --out DIR"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.link(file.resolve(), target)
    except OSError:  # another file system
        with atomic_file(target) as copy:
            for block in read_blocks(file):
                copy.write(block)


def _cut(
    out: Path, levels: dict[int, Path], how: SubImages, say: Callable[[str], None]
) -> dict[int, Path]:
    """Cut HR (scale 1) and LR images into sub-images at corresponding positions.

    Returns:
        Folder of the sub-images of each scale.
    """
    common = math.lcm(*levels)
    if how.crop % common or how.step % common:
        raise UserError(
            f"sub-images: crop {how.crop} and step {how.step} must be multiples of {common} "
            f"for scales {', '.join(str(s) for s in levels if s > 1)}"
        )
    settled = {"crop": how.crop, "step": how.step}
    note = out / "sub_images.json"
    if note.exists() and read_json(note) != settled:
        raise UserError(f"{note}: sub-images were cut with {read_json(note)}; delete them first")
    write_json(note, settled)
    folders = {}
    for scale, folder in levels.items():
        folders[scale] = folder.with_name(f"{folder.name}_sub")

        def cut(file: Path, scale: int = scale) -> None:
            _cut_one(file, folders[scale], scale, common, how)

        _side_by_side(cut, list_images(folder), folders[scale].name)
        say(f"{folders[scale]}: {len(list_images(folders[scale]))} sub-images")
    return folders


def _cut_one(file: Path, folder: Path, scale: int, common: int, how: SubImages) -> None:
    image = read_rgb(file)
    unit = common // scale
    rows, columns = (
        _places(side // unit * unit, how.crop // scale, how.step // scale)
        for side in image.shape[:2]
    )
    if not (rows and columns):
        raise UserError(
            f"{file}: {image.shape[1]}x{image.shape[0]} is smaller than sub-images of "
            f"{how.crop // scale}; take a smaller --crop"
        )
    places = [(row, column) for row in rows for column in columns]
    for number, (row, column) in enumerate(places, start=1):
        target = folder / f"{_key(file, scale)}_s{number:03}.png"
        if not target.exists():
            size = how.crop // scale
            write_rgb(target, image[row : row + size, column : column + size])


def _places(length: int, crop: int, step: int) -> list[int]:
    """Return the starts of crops along one axis; as in BasicSR, the last one ends at the border."""
    places = list(range(0, length - crop + 1, step))
    if places and places[-1] + crop < length:
        places.append(length - crop)
    return places


def _key(file: Path, scale: int) -> str:
    """Return the name that HR and LR share, without the suffix x{scale} of DIV2K's LR files."""
    return file.stem.removesuffix(f"x{scale}")


def _side_by_side(work: Callable[[Any], None], items: Sequence[Any], title: str) -> None:
    """Apply `work` to all items in several threads, with a progress bar on a terminal."""
    with ThreadPoolExecutor() as pool:
        done = pool.map(work, items)
        for _ in track(items, title):
            next(done)
