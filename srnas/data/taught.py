"""A teacher's outputs for whole training images, computed once and kept on disk.

The outputs are `KEY.taught`, float16 without a header, and their index `KEY.json`, which is written
last and knows the images' sizes and the file's CRC-32. The key is a hash of the teacher and of the
LR images' pixels. Until all images are done, the outputs grow in `KEY.growing`, with a line for
each finished image in `KEY.jsonl`. If the process is killed, the next one continues after the last
image whose CRC-32 is right.
"""

import hashlib
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError
from torch import Tensor

from srnas.components import Strict
from srnas.data.pixels import BrokenCacheError, Pixels, Sizes, map_pixels
from srnas.errors import UserError, WriteError, counted
from srnas.files import (
    append_line,
    read_json,
    read_json_lines,
    remove_unfinished,
    write_json,
    write_json_lines,
)
from srnas.progress import Progress, duration

LAYOUT: Literal[1] = 1  # version of the layout of these files
LINES = 10  # of progress where there is no terminal


@dataclass(frozen=True)
class Taught:
    """A teacher's outputs for a sequence of images.

    Attributes:
        pixels: The outputs, float16, not clipped.
        key: Identifies the teacher and the images.
    """

    pixels: Pixels
    key: str


class _Index(Strict):
    """The index of finished outputs.

    Attributes:
        layout: `LAYOUT`.
        teacher: Name of the teacher, for people.
        names: Names of the images, for people.
        sizes: Sizes of the outputs.
        crc32: CRC-32 of the file.
    """

    layout: Literal[1]
    teacher: str
    names: Any
    sizes: Sizes
    crc32: int


@dataclass(frozen=True)
class Lesson:
    """The outputs that are asked of a teacher.

    Attributes:
        teacher: Name of the teacher, for messages.
        identity: Identifies its function, a hash of its file.
        enlarge: Maps an LR image, (H, W, 3) uint8, to (scale*H, scale*W, 3), float on the CPU.
        scale: Scale factor.
        names: Names of the LR images.
        lr: The LR images.
    """

    teacher: str
    identity: str
    enlarge: Callable[[Tensor], Tensor]
    scale: int
    names: Sequence[str]
    lr: Pixels

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes (height, width) of the outputs."""
        return [(height, width) for height, width in (self.scale * self.lr.sizes).tolist()]

    @property
    def bytes(self) -> int:
        """Bytes that the outputs take."""
        return sum(_bytes(size) for size in self.sizes)

    def key(self) -> str:
        """Return a key for the teacher and the pixels of the images."""
        known = json.dumps([LAYOUT, self.identity, self.scale, self.lr.sizes.tolist()])
        pixels = hashlib.sha256(self.lr.values.cpu().numpy().data)
        return hashlib.sha256(f"{known} {pixels.hexdigest()}".encode()).hexdigest()[:16]


def learn(lesson: Lesson, folder: Path, show: bool = True) -> Taught:
    """Return the outputs of a lesson, from the cache or computed into it.

    It prints the disk use before, and the remaining time meanwhile. If another process computes the
    same outputs, it waits for that process.

    Args:
        folder: Folder of the cache; it is made if it is missing.
        show: Whether to print anything.

    Raises:
        UserError: The disk is too small, or an output is not finite.
        WriteError: The cache cannot be written.
    """
    key = lesson.key()
    cache = _Cache(Path(folder), key)
    found = cache.open()
    if found is None:
        try:
            cache.folder.mkdir(parents=True, exist_ok=True)
            with _alone(cache.folder / f"{key}.lock", show):
                found = cache.open() or cache.fill(lesson, show)
        except UserError:
            raise
        except OSError as error:
            why = error.strerror or error
            raise WriteError(
                f"{folder}: cannot be written ({why}); give another teacher.cache"
            ) from error
    return Taught(found, key)


def rehearse(lesson: Lesson, folder: Path) -> tuple[Taught, str]:
    """Say what `learn` would take; return black images for outputs that are not there."""
    key = lesson.key()
    found = _Cache(Path(folder), key).open()
    if found is not None:
        return Taught(found, key), f"{lesson.teacher}, its outputs are in {folder}"
    pixels = lesson.bytes // _bytes((1, 1))
    _output(lesson, 0)  # the first one is slower
    began = time.monotonic()
    timed = _output(lesson, 0).shape[:2].numel()
    seconds = (time.monotonic() - began) * pixels / timed
    black = torch.zeros(1, 3, dtype=torch.float16).expand(pixels, 3)
    note = (
        f"{lesson.teacher}, its outputs for {counted(len(lesson.names), 'image')} take "
        f"{lesson.bytes / 1e6:,.0f} MB in {folder} and, once, {duration(seconds)}"
    )
    return Taught(Pixels(torch.tensor(lesson.sizes), black), key), note


class _Cache:
    """The files of one lesson."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.file, self.index = folder / f"{key}.taught", folder / f"{key}.json"
        self.growing, self.journal = folder / f"{key}.growing", folder / f"{key}.jsonl"

    def open(self) -> Pixels | None:
        """Map the finished outputs; None if there are none, or, with a warning, broken ones."""
        if not self.index.exists():
            return None
        try:
            index = _Index.model_validate(read_json(self.index))
            found = map_pixels(self.file, index.sizes, index.crc32, torch.float16)
        except (UserError, OSError, ValidationError, BrokenCacheError) as error:
            fault = error if isinstance(error, BrokenCacheError | UserError) else self.index
            print(f"warning: {fault}; the teacher's outputs are computed again", file=sys.stderr)
            return None
        with suppress(OSError):
            self.journal.unlink(missing_ok=True)
        return found

    def fill(self, lesson: Lesson, show: bool) -> Pixels:
        """Compute the outputs, behind those that are there."""
        remove_unfinished(self.folder)
        done, crc = self._finished(lesson.sizes)
        self._check_room(lesson, done)
        count = len(lesson.names)
        with open(self.growing, "ab") as file, Progress(count, done, show) as progress:
            progress.tell(
                f"teacher {lesson.teacher}: its outputs for {counted(count, 'image')} take "
                f"{lesson.bytes / 1e6:,.0f} MB in {self.folder}"
                + (f"; {done:,} are there" if done else "")
            )
            for number in range(done, count):
                data = _output(lesson, number).numpy().tobytes()
                crc = zlib.crc32(data, crc)
                file.write(data)
                file.flush()  # so that a killed process has written it
                row = {"image": number, "name": lesson.names[number], "crc32": zlib.crc32(data)}
                append_line(self.journal, json.dumps(row))
                progress.advance(number + 1)
                if number == done or progress.live or not (number + 1) % -(-count // LINES):
                    progress.say("images of the teacher")
            os.fsync(file.fileno())
        os.replace(self.growing, self.file)
        sizes = lesson.sizes
        index = _Index(
            layout=LAYOUT, teacher=lesson.teacher, names=list(lesson.names), sizes=sizes, crc32=crc
        )
        write_json(self.index, dict(index))
        self.journal.unlink(missing_ok=True)
        return map_pixels(self.file, sizes, crc, torch.float16)

    def _finished(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """Return how many images a killed process has finished, and the CRC-32 of their outputs."""
        rows: list[dict[str, Any]] = []
        with suppress(UserError, OSError):
            rows = read_json_lines(self.journal)
        good = end = crc = 0
        if self.file.exists():  # without an index, or with a broken one
            os.replace(self.file, self.growing)
        if self.growing.exists():
            with open(self.growing, "r+b") as file:
                for row, size in zip(rows, sizes, strict=False):
                    data = file.read(_bytes(size))
                    if len(data) < _bytes(size) or zlib.crc32(data) != row.get("crc32"):
                        break
                    crc = zlib.crc32(data, crc)
                    good, end = good + 1, end + len(data)
                file.truncate(end)
        write_json_lines(self.journal, rows[:good])
        return good, crc

    def _check_room(self, lesson: Lesson, done: int) -> None:
        needed = sum(_bytes(size) for size in lesson.sizes[done:])
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder}: the teacher's outputs need {needed / 1e6:,.0f} MB, "
                f"{free / 1e6:,.0f} MB are free; give another teacher.cache, or teacher.on: patches"
            )


def _output(lesson: Lesson, number: int) -> Tensor:
    output = lesson.enlarge(lesson.lr.image(number)).to(torch.float16)
    assert tuple(output.shape) == (*lesson.sizes[number], 3), (output.shape, lesson.names[number])
    if not torch.isfinite(output).all():
        raise UserError(
            f"teacher {lesson.teacher}: its output for {lesson.names[number]} is not finite"
        )
    return output.contiguous()


def _bytes(size: tuple[int, int]) -> int:
    return size[0] * size[1] * 3 * torch.float16.itemsize


def _alone(path: Path, show: bool) -> Any:
    """Hold a lock; wait for another process if it must be."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        if show:
            print(
                f"{path}: another process computes the teacher's outputs; waiting", file=sys.stderr
            )
        return lock.acquire()
