"""Downloads of data sets: only when asked for, resumed where they stopped, and checked.

Nothing else in srnas opens a connection.
"""

import hashlib
import tarfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.error import HTTPError, URLError

from srnas.data.archives import READ_ERRORS, read_blocks
from srnas.data.headers import check_bytes
from srnas.data.images import is_image
from srnas.errors import UserError
from srnas.files import atomic_file, file_name
from srnas.lock import hold
from srnas.progress import Progress
from srnas.tasks.super_resolution.div2k import SHA256

BLOCK = 1 << 20
TIMEOUT = 60  # seconds without an answer
REPORTS = 20  # lines of progress where there is no terminal
DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
BENCHMARKS = "https://cv.snu.ac.kr/research/EDSR"
BENCHMARK_SETS = ("Set5", "Set14", "B100", "Urban100")
# Of the file that its authors offer, as users of it report; DIV2K's are TensorFlow Datasets'.
BENCHMARK_SUM = "80c21c333bbf6ceb5308b7243761f8284478274413a97b96f1d63e9045fd93e8"
TERMS = {
    "div2k": "DIV2K (Agustsson, Timofte, 2017): for academic research only; its images belong to "
    "their authors",
    "benchmarks": "Set5 (Bevilacqua et al.), Set14 (Zeyde et al.), B100 (Martin et al.), Urban100 "
    "(Huang et al.), as packed by the authors of EDSR: for research; the images belong to their "
    "authors",
}


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        name: Its name.
        folder: The address of its folder.
        sha256: Its SHA-256.
    """

    name: str
    folder: str
    sha256: str


def archives(dataset: str, scales: Sequence[int]) -> list[Archive]:
    """Return the archives of "div2k" (HR, and LR by bicubic at the scales) or of "benchmarks"."""
    if dataset == "benchmarks":
        return [Archive("benchmark.tar", BENCHMARKS, BENCHMARK_SUM)]
    splits = ("train", "valid")
    names = [f"DIV2K_{split}_HR.zip" for split in splits]
    names += [f"DIV2K_{split}_LR_bicubic_X{scale}.zip" for scale in scales for split in splits]
    return [Archive(name, DIV2K, SHA256[name]) for name in names]


def fetch(
    archive: Archive, folder: Path, mirror: str | None = None, say: Callable[[str], None] = print
) -> Path:
    """Download a file into a folder, unless it is there.

    The bytes received so far are kept in NAME.part. The next call continues at the end of this file
    if the server can (HTTP's Range). The file gets its name once its sum is right.

    Args:
        archive: The file.
        folder: Where it goes.
        mirror: Address of another folder that has it.
        say: Function that is called with a line about the result.

    Raises:
        UserError: The server cannot be reached or does not have the file, the connection breaks,
            another process downloads the file, or its SHA-256 is wrong.
        WriteError: The file cannot be written.
    """
    target = folder / archive.name
    if target.exists():
        say(f"{target}: is there")
        return target
    folder.mkdir(parents=True, exist_ok=True)
    address = f"{(mirror or archive.folder).rstrip('/')}/{archive.name}"
    if not address.startswith(("https://", "http://")):
        raise UserError(f"{address}: give an address that begins with https:// or http://")
    part = folder / f"{archive.name}.part"
    with hold(folder / f".{archive.name}.lock", target, "give another --out"):
        try:
            _receive(address, part, archive.name)
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
            have = part.stat().st_size if part.exists() else 0
            raise UserError(
                f"{address}: cannot be fetched ({reason}); {have / 1e6:,.1f} MB are there, run the "
                "command again to continue"
            ) from error
        found = hashlib.sha256()
        for block in read_blocks(part):
            found.update(block)
        if found.hexdigest() != archive.sha256:
            raise UserError(
                f"{part}: its SHA-256 is {found.hexdigest()}, not {archive.sha256}; remove it and "
                f"fetch it again, or if you trust it, rename it to {archive.name}"
            )
        part.replace(target)
    say(f"{target}: {target.stat().st_size / 1e6:,.1f} MB, SHA-256 as expected")
    return target


def unpack_benchmarks(archive: Path, out: Path) -> dict[str, int]:
    """Unpack the benchmark sets: OUT/Set5/HR/NAME.png, OUT/Set5/LR_bicubic/X2/NAMEx2.png, ...

    Files that exist are kept.

    Returns:
        The number of images of each set.

    Raises:
        UserError: The archive is broken, or an image is larger than images may be.
        WriteError: A file cannot be written.
    """
    counts = dict.fromkeys(BENCHMARK_SETS, 0)
    try:
        with tarfile.open(archive) as content:
            for member in content:
                place = _place(member, archive)
                if place is None:
                    continue
                check_bytes(member.size, f"{archive}: {member.name}")
                packed = content.extractfile(member)
                assert packed, member.name
                counts[place.parts[0]] += place.parts[1] == "HR"
                target = out / place
                if target.exists() and target.stat().st_size == member.size:
                    continue
                with atomic_file(target) as file:
                    file.write(packed.read())
    except UserError:
        raise
    except (tarfile.TarError, *READ_ERRORS) as error:
        raise UserError(
            f"{archive}: broken or truncated ({error}); remove it and fetch it again"
        ) from error
    return counts


def _place(member: tarfile.TarInfo, archive: Path) -> Path | None:
    """Return where an image of a benchmark set goes, below the folder of all sets."""
    parts = PurePosixPath(member.name).parts
    for start, part in enumerate(parts):
        if part in BENCHMARK_SETS and member.isfile() and is_image(parts[-1]):
            rest = parts[start:]
            if rest[1:-1] == ("HR",) or (len(rest) == 4 and rest[1] == "LR_bicubic"):
                return Path(*(file_name(one, str(archive)) for one in rest))
    return None


def _receive(address: str, part: Path, name: str) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return
        raise
    with answer:
        goes_on = answer.status == 206
        start = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else start
        with open(part, "ab" if goes_on else "wb") as file:
            _copy(answer, file, start, total, name)
    if part.stat().st_size < total:
        raise ConnectionError("the connection ended early")


def _copy(answer: BinaryIO, file: BinaryIO, start: int, total: int, name: str) -> None:
    blocks = -(-total // BLOCK)
    every = max(1, blocks // REPORTS)
    done = start
    with Progress(blocks, start // BLOCK) as progress:
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            number = done // BLOCK
            progress.advance(number)
            if progress.live or number % every == 0:
                progress.say(f"MB  {name}")
