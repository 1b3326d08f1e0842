"""Headers of image files, which are read before decoding, and the images that they exclude.

Pillow reads the headers. OpenCV decodes most images; those that it decodes wrongly, or differently
from version to version, are left to Pillow (see `Header.by_pillow`).
"""

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin

from srnas.errors import UserError

LIMIT = "SRNAS_MAX_PIXELS"  # the environment variable that raises the limit
DEFAULT_LIMIT = 1 << 28  # pixels; about 16,000 x 16,000
LARGEST_LIMIT = 1 << 30  # pixels; OpenCV decodes no larger images
PIXEL_BYTES = 8  # of the largest pixels, RGBA of 16 bits
OTHER_BYTES = 1 << 20  # of the content of a file besides its pixels
REDUCED_COPY = 254  # TIFF's tag NewSubfileType, whose lowest bit marks a reduced copy
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM", "GIF", "AVIF", "SUN")
BY_PILLOW = ("TIFF", "PPM", "GIF")
PILLOW_ERRORS = (
    OSError,  # UnidentifiedImageError included
    ValueError,
    SyntaxError,
    IndexError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Header:
    """The header of an image, read before decoding.

    Attributes:
        width, height: Size in pixels, before a rotation that EXIF asks for.
        transparent: Whether pixels can be transparent.
        by_pillow: Whether Pillow must decode it: transparent images; TIFF, of which OpenCV
            multiplies colours by alpha and cannot read some tiles; PPM and PGM, whose maximum
            OpenCV ignores; and GIF, which only some versions of OpenCV read.
    """

    width: int
    height: int
    transparent: bool
    by_pillow: bool


def read_file(path: Path) -> tuple[bytes, Header]:
    """Read an image file and its header, and refuse what cannot be decoded rightly.

    Raises:
        UserError: The file is missing, cannot be read or is not an image; it is larger than
            `max_pixels` allows; it has several frames; or its pixels are of a kind that has no
            certain counterpart in 8-bit RGB.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such image file")
    check_bytes(path.stat().st_size, str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return data, read_header(path, data)


def read_header(path: Path, data: bytes) -> Header:
    """Read the header of an image.

    Raises:
        UserError: As in `read_file`.
    """
    try:
        image = open_image(data)
    except Image.DecompressionBombError as error:
        raise beyond_pillow(path, error) from error
    if image is None:
        raise UserError(f"{path}: not a readable image; replace it, remove it or convert it to PNG")
    width, height = image.size
    limit = max_pixels()
    if width * height > limit:
        raise UserError(
            f"{path}: {width}x{height} is more than {limit} pixels; if it is meant to be so large, "
            f"set {LIMIT}={width * height}"
        )
    reason = _refusal(image)
    if reason:
        raise UserError(f"{path}: {reason}")
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return Header(width, height, transparent, transparent or image.format in BY_PILLOW)


def open_image(data: bytes) -> ImageFile.ImageFile | None:
    """Open an image with Pillow, without decoding it; None if it is not of a format in `FORMATS`.

    `PIL.Image.open` would also compare the size with a limit of its own, which can only be changed
    for the whole process.

    Raises:
        PIL.Image.DecompressionBombError: A WebP, or a JPEG with previews, is larger than that
            limit, twice `PIL.Image.MAX_IMAGE_PIXELS`. To decode a TIFF can raise it as well.
    """
    Image.init()
    for name in FORMATS:
        opener, accepts = Image.OPEN.get(name, (None, None))
        try:
            if opener and accepts and accepts(data[:16]) is True:
                return opener(io.BytesIO(data), "")
        except PILLOW_ERRORS:
            continue
    return None


def beyond_pillow(path: Path, error: Image.DecompressionBombError) -> UserError:
    """Return the error for an image that is larger than Pillow's own limit."""
    return UserError(f"{path}: {error} It can be larger as PNG.")


def check_bytes(size: int, what: str) -> None:
    """Check that an image file is not larger than the largest image could be.

    Args:
        size: Size of the file in bytes.

    Raises:
        UserError: It is larger.
    """
    limit = max_pixels()
    if size > PIXEL_BYTES * limit + OTHER_BYTES:
        raise UserError(
            f"{what}: {size} bytes are more than an image of {limit} pixels takes; if it is meant "
            f"to be so large, set {LIMIT}={-(-size // PIXEL_BYTES)}"
        )


def max_pixels() -> int:
    """Return the largest number of pixels of an image that is decoded.

    It bounds the memory that a small file can demand. The environment variable SRNAS_MAX_PIXELS
    changes it.

    Raises:
        UserError: The variable is not a number from 1 to 2**30.
    """
    written = os.environ.get(LIMIT, "")
    if not written:
        return DEFAULT_LIMIT
    if not (written.isascii() and written.isdigit() and 1 <= int(written) <= LARGEST_LIMIT):
        raise UserError(f"{LIMIT}={written}: give a number of pixels from 1 to {LARGEST_LIMIT}")
    return int(written)


def _refusal(image: ImageFile.ImageFile) -> str | None:
    """Return why an image is refused, and what to do."""
    frames = _frames(image)
    if frames > 1:
        return f"holds {frames} frames or pages; save the one you mean as a file of its own"
    tags: Any = getattr(image, "tag_v2", {})
    number_kinds = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    if image.mode == "F" or any(kind not in (1, 4) for kind in number_kinds):  # unsigned, undefined
        return "its pixels are floating-point or signed numbers; convert it to 8 or 16 bits"
    if image.mode == "LAB":
        return "its colours are CIELAB; convert it to RGB"
    if image.mode == "CMYK" and "icc_profile" in image.info:
        return "its colours are CMYK with a profile; convert it to RGB"
    return None


def _frames(image: ImageFile.ImageFile) -> int:
    """Return the number of frames or pages.

    The previews in a photograph's JPEG (MPO) and the reduced copies in a TIFF do not count.
    """
    if image.format not in ("PNG", "WEBP", "GIF", "AVIF", "TIFF"):
        return 1
    count: int = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or count == 1:
        return count
    pages = 1
    for page in range(1, count):
        try:
            image.seek(page)
            tags: Any = getattr(image, "tag_v2", {})
            pages += not tags.get(REDUCED_COPY, 0) & 1
        except PILLOW_ERRORS:
            pages += 1
    image.seek(0)
    return pages
