"""Images out of zip archives, with bounds on their expansion."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from srnas.data.headers import check_bytes
from srnas.data.images import is_image
from srnas.errors import UserError
from srnas.files import atomic_file, file_name
from srnas.progress import track

READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    RuntimeError,  # an unknown or missing compression method
)


def unpack_images(archive: Path, target: Path) -> None:
    """Extract all images of an archive into one folder, whatever their folders in the archive.

    Reading a member checks its CRC. Files that exist with the same size and CRC are kept.

    Raises:
        UserError: The archive is broken or cannot be read; two images have the same name, apart
            from folder and suffix; one is encrypted, larger than `srnas.data.headers.max_pixels`
            allows, has a name that cannot be that of a file, or differs from a file that exists;
            or a file cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            for name, member in track(list(_images(content, archive).items()), archive.name):
                _extract(content, member, archive, target / name)
    except UserError:
        raise
    except READ_ERRORS as error:
        raise _broken(archive, error) from error


def _images(content: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the images of an archive by the names of the files that they become."""
    images: dict[str, zipfile.ZipInfo] = {}
    stems: dict[str, str] = {}
    for member in content.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or not is_image(path.name):
            continue
        name = file_name(path.name, str(archive))
        other = stems.setdefault(path.stem, member.filename)
        if name in images or other != member.filename:
            raise UserError(
                f"{archive}: {other} and {member.filename} would become the same image; "
                "give the folders one by one, unpacked"
            )
        if member.flag_bits & 1:
            raise UserError(
                f"{archive}: {member.filename} is encrypted; unpack it, and give the folder"
            )
        check_bytes(member.file_size, f"{archive}: {member.filename}")
        images[name] = member
    return images


def _extract(
    content: zipfile.ZipFile, member: zipfile.ZipInfo, archive: Path, target: Path
) -> None:
    if target.exists():
        crc = 0
        for block in read_blocks(target):
            crc = zlib.crc32(block, crc)
        if (target.stat().st_size, crc) != (member.file_size, member.CRC):
            raise UserError(
                f"{target} and {member.filename} in {archive} differ; delete the file, or give "
                "another --out DIR"
            )
        return
    # These can be bounded while they are unpacked; other methods expand all that is read at once.
    bounded = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with content.open(member) as packed, atomic_file(target) as file:
        for block in _blocks(packed, archive, 1 << 16 if bounded else 1 << 12):
            file.write(block)


def read_blocks(path: Path) -> Iterator[bytes]:
    """Read a file block by block; UserError if the file cannot be read."""
    try:
        with open(path, "rb") as file:
            yield from _blocks(file, path, 1 << 20)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _blocks(file: IO[bytes], path: Path, size: int) -> Iterator[bytes]:
    try:
        while block := file.read(size):
            yield block
    except READ_ERRORS as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> UserError:
    if isinstance(error, RuntimeError):
        return UserError(
            f"{path}: packed in a way that is not known here ({error}); unpack it, and give the "
            "folder"
        )
    reason = str(error) or type(error).__name__
    return UserError(f"{path}: broken or truncated ({reason}); fetch it again")
