"""Decoded pixels of many images, kept in memory, on a device, or mapped from files on disk.

Decoding DIV2K takes minutes and gives about 8 GB at x2. With a cache folder this happens only
once: later runs read the decoded bytes, or map them so that several runs share one copy in
memory.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from srnas.data.images import ImagePair
from srnas.errors import UserError
from srnas.files import read_json, write_json

Keep = Literal["device", "memory", "mmap"]
LAYOUT = 1  # version of the layout of the cache files
AT_ONCE = 32  # images decoded ahead


class Pixels(NamedTuple):
    """The pixels of all images of one resolution, one image after the other.

    Attributes:
        sizes: Height and width of each image, (images, 2) int64.
        values: RGB of all pixels, (pixels, 3) uint8.
    """

    sizes: Tensor
    values: Tensor


def load_pixels(
    pairs: Sequence[ImagePair],
    scale: int,
    device: torch.device,
    keep: Keep = "device",
    cache: Path | None = None,
) -> tuple[Pixels, Pixels]:
    """Load the LR and HR pixels of all pairs, as `ImagePair.load` returns them.

    Args:
        pairs: The images.
        scale: The scale factor.
        device: Where the pixels go if `keep` is "device".
        keep: Where the pixels are kept: "device" on `device`, "memory" in main memory, "mmap" in
            the files of the cache, which are read as needed.
        cache: Folder in which the decoded pixels are cached for later runs. If the path, size or
            modification time of an image file changes, all pairs are decoded anew.

    Returns:
        The pixels of LR and of HR.

    Raises:
        UserError: A pair cannot be loaded, a file of the cache has the wrong size, or `keep` is
            "mmap" without a cache.
    """
    if keep == "mmap" and cache is None:
        raise UserError("data.keep: mmap needs data.cache: FOLDER")
    if cache is None:
        lr, hr = _in_memory(pairs, scale)
    else:
        lr, hr = _cached(pairs, scale, Path(cache))
        if keep == "memory":
            lr, hr = (Pixels(p.sizes, p.values.clone()) for p in (lr, hr))
    if keep == "device":
        lr, hr = (Pixels(p.sizes, p.values.to(device)) for p in (lr, hr))
    return lr, hr


def _in_memory(pairs: Sequence[ImagePair], scale: int) -> tuple[Pixels, Pixels]:
    loaded = [list(images) for images in zip(*_decoded(pairs, scale), strict=True)]
    return _join(loaded[0]), _join(loaded[1])


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


def _cached(pairs: Sequence[ImagePair], scale: int, folder: Path) -> tuple[Pixels, Pixels]:
    key = _key(pairs, scale)
    index = folder / f"{key}.json"
    files = [folder / f"{key}.{level}" for level in ("lr", "hr")]
    if not index.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _write_cache(pairs, scale, files, index)
    levels = []
    for sizes, file in zip(read_json(index)["sizes"], files, strict=True):
        sizes = torch.tensor(sizes)
        count = 3 * int(sizes.prod(1).sum())
        if not file.is_file() or file.stat().st_size != count:
            raise UserError(f"{file}: not the {count} bytes that {index.name} tells; delete both")
        levels.append(
            Pixels(sizes, torch.from_file(str(file), size=count, dtype=torch.uint8).view(-1, 3))
        )
    return levels[0], levels[1]


def _write_cache(
    pairs: Sequence[ImagePair], scale: int, files: Sequence[Path], index: Path
) -> None:
    """Write the pixels first and their index last; pixels without an index are ignored."""
    sizes: tuple[list[list[int]], ...] = ([], [])
    with ExitStack() as stack:
        parts = []
        for file in files:
            handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
            stack.callback(Path(name).unlink, missing_ok=True)
            parts.append((stack.enter_context(os.fdopen(handle, "wb")), name))
        for images in _decoded(pairs, scale):
            for image, known, (part, _) in zip(images, sizes, parts, strict=True):
                known.append(list(image.shape[:2]))
                part.write(np.ascontiguousarray(image).data)
        for (part, name), file in zip(parts, files, strict=True):
            part.flush()
            os.fsync(part.fileno())
            os.replace(name, file)
    write_json(index, {"layout": LAYOUT, "names": [p.name for p in pairs], "sizes": sizes})


def _decoded(
    pairs: Sequence[ImagePair], scale: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Load pairs in parallel threads, since OpenCV decodes without holding Python's GIL.

    At most `AT_ONCE` pairs are decoded ahead.
    """
    console = Console(stderr=True)
    quiet = not console.is_terminal
    with ThreadPoolExecutor() as pool:
        chunks = [pairs[i : i + AT_ONCE] for i in range(0, len(pairs), AT_ONCE)]
        for chunk in track(chunks, "decoding", console=console, transient=True, disable=quiet):
            yield from pool.map(lambda pair: pair.load(scale), chunk)


def _key(pairs: Sequence[ImagePair], scale: int) -> str:
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
