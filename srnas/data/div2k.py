"""DIV2K made ready: from its archives or an unpacked tree to the layout that options expect.

    OUT/DIV2K_train_HR/0001.png ...     OUT/DIV2K_train_LR_bicubic/X2/0001x2.png ...
    OUT/DIV2K_valid_HR/0801.png ...     OUT/DIV2K_valid_LR_bicubic/X2/0801x2.png ...

For BasicSR's loaders also sub-images (OUT/DIV2K_train_HR_sub/0001_s001.png ...,
OUT/DIV2K_train_LR_bicubic/X2_sub/0001_s001.png ...) and LMDB (the same with .lmdb). srnas itself
decodes whole images once and needs neither.
"""

import hashlib
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console
from rich.progress import track

from srnas.basicsr_bridge import make_lmdb
from srnas.data.images import SUFFIXES, ImagePair, list_images, pair_folders, read_rgb, write_rgb
from srnas.errors import UserError
from srnas.files import read_json, write_atomic, write_json

# https://data.vision.ee.ethz.ch/cvl/DIV2K/; sums as TensorFlow Datasets publishes them.
SHA256 = {
    "DIV2K_train_HR.zip": "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
    "DIV2K_train_LR_bicubic_X2.zip": (
        "a53a424317575838dadce4bcd97cf7b744d6855f43740ed5f0245af3cf4bd850"
    ),
    "DIV2K_train_LR_bicubic_X3.zip": (
        "ad5c8e5507e2765823d3c2c5bd0934842efcd487c5370604c224090898b3163a"
    ),
    "DIV2K_train_LR_bicubic_X4.zip": (
        "f006b837f4eb52b82909aa01478e6d6d199eefce932179491d0c9dbb706dde3a"
    ),
    "DIV2K_valid_HR.zip": "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
    "DIV2K_valid_LR_bicubic_X2.zip": (
        "60eed9875c697df51204aa579e2a699e1d5215095788a097ff54dd17e2664d57"
    ),
    "DIV2K_valid_LR_bicubic_X3.zip": (
        "04b9a2ed3b4a0715d3924d3ae8514830c3328fac8d30512ce716d6f419e052a3"
    ),
    "DIV2K_valid_LR_bicubic_X4.zip": (
        "a50a5d1c4b88de4e8d300d8fb2b904c52fe93b2b298a4899697760d7cbb6d553"
    ),
}


@dataclass(frozen=True)
class SubImages:
    """Overlapping crops of HR images: `crop` pixels wide and high, every `step` pixels."""

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
    """Fill `out` from `source`, which holds the archives or the unpacked folders.

    LR images that are not there are made by MATLAB-equivalent bicubic. What is in `out`
    already stays, so that a broken off preparation goes on where it stopped.
    Raises UserError if DIV2K_train_HR is missing, an archive or image is broken, or sub-images do
    not fit the scales and images.
    """
    source, out = Path(source), Path(out)
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
            make_lmdb(list_images(folder), target, lambda file, s=scale: _key(file, s))
        say(f"{target}: {len(list_images(folder))} images")


def make_lr(pairs: Sequence[ImagePair], folder: Path, scale: int) -> None:
    """Write NAMEx{scale}.png by bicubic for each pair, but for those that exist."""

    def make(pair: ImagePair) -> None:
        target = folder / f"{pair.name}x{scale}.png"
        if not target.exists():
            write_rgb(target, pair.load(scale)[0])

    _side_by_side(make, pairs, f"{folder.name}: LR")


def _bring(
    source: Path, target: Path, folder: str, archive: str, say: Callable[[str], None]
) -> int:
    """Unpack or link one folder of images; the number of images, 0 if there is no source."""
    if (source / archive).is_file():
        _check_sum(source / archive, say)
        _unpack(source / archive, target)
    elif (source / folder).is_dir() and (source / folder).resolve() != target.resolve():
        _side_by_side(lambda file: _link(file, target), list_images(source / folder), folder)
    if not target.is_dir() or not any(target.iterdir()):
        return 0
    count = len(list_images(target))
    say(f"{target}: {count} images")
    return count


def _check_sum(archive: Path, say: Callable[[str], None]) -> None:
    with open(archive, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != SHA256.get(archive.name):
        say(f"warning: {archive}: not the official archive (its SHA-256 differs)")


def _unpack(archive: Path, target: Path) -> None:
    """The images of an archive, each checked by its CRC, whatever folder they lie in."""
    try:
        with zipfile.ZipFile(archive) as content:
            members = [
                m for m in content.infolist() if PurePosixPath(m.filename).suffix in SUFFIXES
            ]
            for member in _shown(members, archive.name):
                file = target / PurePosixPath(member.filename).name
                if not (file.exists() and file.stat().st_size == member.file_size):
                    write_atomic(file, content.read(member))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{archive}: broken or truncated ({error}); fetch it again") from error


def _link(file: Path, folder: Path) -> None:
    target = folder / file.name
    folder.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(file.resolve(), target)
    except OSError:  # another file system
        partial = target.with_name(f".{target.name}.part")
        shutil.copyfile(file, partial)
        os.replace(partial, target)


def _cut(
    out: Path, levels: dict[int, Path], how: SubImages, say: Callable[[str], None]
) -> dict[int, Path]:
    """Sub-images of HR (scale 1) and LR at the same places; the folders that hold them."""
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
    """Starts of crops along one axis; the last one ends with the image, as BasicSR cuts."""
    places = list(range(0, length - crop + 1, step))
    if places and places[-1] + crop < length:
        places.append(length - crop)
    return places


def _key(file: Path, scale: int) -> str:
    """The name that HR and LR share: DIV2K's LR files have the scale at their names' end."""
    return file.stem.removesuffix(f"x{scale}")


def _side_by_side(work: Callable[[Any], None], items: Sequence[Any], title: str) -> None:
    with ThreadPoolExecutor() as pool:
        for _ in _shown(pool.map(work, items), title, len(items)):
            pass


def _shown(items: Iterable[Any], title: str, total: int | None = None) -> Iterable[Any]:
    console = Console(stderr=True)
    return track(
        items, title, total, console=console, transient=True, disable=not console.is_terminal
    )
