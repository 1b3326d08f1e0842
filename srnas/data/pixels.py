"""Decoded pixels of many images, kept in memory, on a device, or mapped from files on disk.

Decoding DIV2K takes minutes and gives about 8 GB at x2. With a cache folder this happens only
once: later runs read the decoded bytes, or map them so that several runs share one copy in
memory.

A cache is three files: `KEY.lr` and `KEY.hr` with the pixels, and their index `KEY.json`, which is
written last and knows the images' sizes and the files' CRC-32. Opening it reads all pixels once, to
check them; this takes about 0.03 s for 100 MB beyond the reading itself.
"""

import hashlib
import json
import mmap
import sys
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from srnas.components import Count, Strict
from srnas.data.images import TrainingImage
from srnas.errors import UserError
from srnas.files import atomic_file, read_json, remove_unfinished, write_json
from srnas.progress import track

Keep = Literal["device", "memory", "mmap"]
Sizes = list[tuple[Count, Count]]  # heights and widths of the images
LAYOUT: Literal[1] = 1  # version of the layout of the pixel files
AT_ONCE = 32  # images decoded ahead
BLOCK = 1 << 20  # bytes read at once


class Pixels(NamedTuple):
    """The pixels of all images of one resolution, one image after the other.

    Attributes:
        sizes: Height and width of each image, (images, 2) int64.
        values: RGB of all pixels, (pixels, 3): uint8, or float16 with 1 for white.
    """

    sizes: Tensor
    values: Tensor

    @property
    def starts(self) -> Tensor:
        """Index of the first pixel of each image, (images,)."""
        counts = self.sizes.prod(1)
        return counts.cumsum(0) - counts

    def image(self, index: int) -> Tensor:
        """Return one image, (H, W, 3)."""
        height, width = self.sizes[index].tolist()
        start = int(self.starts[index])
        return self.values[start : start + height * width].view(height, width, 3)

    def kept(self, device: torch.device, keep: Keep) -> "Pixels":
        """Return these pixels in the memory that `keep` names, see `load_pixels`."""
        if keep == "memory":
            return Pixels(self.sizes, self.values.clone())
        return Pixels(self.sizes, self.values.to(device)) if keep == "device" else self


def load_pixels(
    pairs: Sequence[TrainingImage],
    scale: int,
    device: torch.device,
    keep: Keep = "device",
    cache: Path | None = None,
) -> tuple[Pixels, Pixels]:
    """Load the LR and HR pixels of all pairs, as `ImagePair.load` returns them.

    Args:
        device: Where the pixels go if `keep` is "device".
        keep: Where the pixels are kept: "device" on `device`, "memory" in main memory, "mmap" in
            the files of the cache, which are read as needed.
        cache: Folder in which the decoded pixels are cached for later runs. If the path, size or
            modification time of an image file changes, all pairs are decoded anew. So they are,
            with a warning, if the cache is broken.

    Returns:
        The pixels of LR and of HR.

    Raises:
        UserError: A pair cannot be loaded, the cache cannot be written, or `keep` is "mmap" without
            a cache.
    """
    if keep == "mmap" and cache is None:
        raise UserError("data.keep: mmap needs data.cache: FOLDER")
    if cache is None:
        loaded = [list(images) for images in zip(*_decoded(pairs, scale), strict=True)]
        lr, hr = map(_join, loaded)
        if keep == "memory":  # where they are
            return lr, hr
    else:
        lr, hr = _cached(pairs, scale, Path(cache))
    return lr.kept(device, keep), hr.kept(device, keep)


def _join(images: list[NDArray[np.uint8]]) -> Pixels:
    """Join images, and empty the list on the way so that memory never holds all of them twice."""
    sizes = torch.tensor([image.shape[:2] for image in images])
    values = torch.empty(int(sizes.prod(1).sum()), 3, dtype=torch.uint8)
    end = len(values)
    while images:
        flat = torch.from_numpy(np.ascontiguousarray(images.pop())).view(-1, 3)
        values[end - len(flat) : end] = flat
        end -= len(flat)
    return Pixels(sizes, values)


class _Index(Strict):
    """The index of a cache.

    Attributes:
        layout: `LAYOUT`.
        names: Names of the pairs, for people.
        sizes: Sizes of the LR and of the HR images.
        crc32: CRC-32 of the LR and of the HR file.
    """

    layout: Literal[1]
    names: Any
    sizes: tuple[Sizes, Sizes]
    crc32: tuple[int, int]


class BrokenCacheError(Exception):
    """Describe the fault of a cache in one line."""


def _cached(pairs: Sequence[TrainingImage], scale: int, folder: Path) -> tuple[Pixels, Pixels]:
    key = _key(pairs, scale)
    index = folder / f"{key}.json"
    files = [folder / f"{key}.{level}" for level in ("lr", "hr")]
    if index.exists():
        try:
            return _map(files, _read_index(index))
        except BrokenCacheError as fault:
            print(f"warning: {fault}; the images are decoded again", file=sys.stderr)
    written = _write_cache(pairs, scale, files, index)
    try:
        return _map(files, written)
    except BrokenCacheError as fault:
        raise UserError(f"{fault}, just after it was written; give another data.cache") from fault


def _read_index(path: Path) -> _Index:
    try:
        return _Index.model_validate(read_json(path))
    except (UserError, OSError) as error:
        raise BrokenCacheError(str(error)) from error
    except ValidationError as error:
        raise BrokenCacheError(f"{path}: not the index of a cache with checksums") from error


def _map(files: Sequence[Path], index: _Index) -> tuple[Pixels, Pixels]:
    lr, hr = map(map_pixels, files, index.sizes, index.crc32)
    return lr, hr


def map_pixels(
    path: Path, sizes: Sequence[tuple[int, int]], crc32: int, dtype: torch.dtype = torch.uint8
) -> Pixels:
    """Check a file of pixels and map it.

    The mapping is private, and stays valid when another process replaces the file.

    Args:
        path: The file: the values of `Pixels`, without a header.
        sizes: Heights and widths of the images.
        crc32: CRC-32 of the file.
        dtype: Type of the values.

    Raises:
        BrokenCacheError: The file cannot be read, or is not what `sizes` and `crc32` say.
    """
    count = 3 * dtype.itemsize * sum(height * width for height, width in sizes)
    try:
        with open(path, "rb") as file:
            found = crc = 0
            while block := file.read(BLOCK):
                found += len(block)
                crc = zlib.crc32(block, crc)
            if found != count:
                raise BrokenCacheError(f"{path}: {found} bytes instead of {count}")
            if crc != crc32:
                raise BrokenCacheError(f"{path}: damaged (its CRC-32 differs)")
            mapped = mmap.mmap(file.fileno(), count, access=mmap.ACCESS_COPY) if count else None
    except (OSError, ValueError) as error:  # ValueError: it was cut meanwhile
        raise BrokenCacheError(f"{path}: cannot be read ({error})") from error
    flat = torch.empty(0, dtype=dtype) if mapped is None else torch.frombuffer(mapped, dtype=dtype)
    return Pixels(torch.tensor(sizes), flat.view(-1, 3))


def _write_cache(
    pairs: Sequence[TrainingImage], scale: int, files: Sequence[Path], index: Path
) -> _Index:
    """Write the pixels first and their index last; pixels without an index are ignored."""
    remove_unfinished(index.parent)
    sizes: tuple[Sizes, Sizes] = ([], [])
    crcs = [0, 0]
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic_file(file)) for file in files]
        for images in _decoded(pairs, scale):
            for level, image in enumerate(images):
                sizes[level].append((image.shape[0], image.shape[1]))
                data = np.ascontiguousarray(image).data
                crcs[level] = zlib.crc32(data, crcs[level])
                parts[level].write(data)
    names = [pair.name for pair in pairs]
    written = _Index(layout=LAYOUT, names=names, sizes=sizes, crc32=(crcs[0], crcs[1]))
    write_json(index, dict(written))
    return written


def _decoded(
    pairs: Sequence[TrainingImage], scale: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Load pairs in parallel threads, since OpenCV decodes without holding Python's GIL.

    At most `AT_ONCE` pairs are decoded ahead.
    """
    with ThreadPoolExecutor() as pool:
        chunks = [pairs[i : i + AT_ONCE] for i in range(0, len(pairs), AT_ONCE)]
        for chunk in track(chunks, "decoding"):
            yield from pool.map(lambda pair: pair.load(scale), chunk)


def _key(pairs: Sequence[TrainingImage], scale: int) -> str:
    """Return a key for the content of the files, from their paths, sizes and times."""
    known: list[object] = [LAYOUT, scale]
    for pair in pairs:
        for file in (pair.hr, pair.lr):
            if file is None:
                known.append(None)
            elif not file.is_file():
                raise UserError(f"{file}: no such image file")
            else:
                stat = file.stat()
                known.append([str(file.resolve()), stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
