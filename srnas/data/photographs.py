"""Photographs of users, read and written with all that an enlargement can keep.

Training and evaluation see RGB of 8 bits (`srnas.data.images`). The user of an enlarged
photograph expects its transparency, gray as gray, 16 bits, and its colour profile.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srnas.data.bicubic import resize
from srnas.data.headers import open_image, read_file
from srnas.data.images import read_with_alpha
from srnas.files import write_atomic

Pixels = NDArray[Any]  # uint8 or uint16
PNG_START = 33  # bytes of a PNG before its second chunk: the signature and IHDR
ORIENTATION = 274  # tag of EXIF


@dataclass(frozen=True)
class Photograph:
    """An image with the metadata of its file.

    Attributes:
        rgb: Shape (H, W, 3), uint8 or uint16; three equal channels if it is gray.
        alpha: Shape (H, W), of the same type, from 0 (transparent); None if all pixels are opaque.
        gray: Whether the file had a single channel of colour.
        profile: ICC profile of the colours; None if the file had none.
        lost: What of the file is not kept, for its user; empty if nothing.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    gray: bool = False
    profile: bytes | None = None
    lost: str = ""

    def enlarged(self, upscale: Callable[[Pixels], Pixels], scale: int) -> "Photograph":
        """Return the photograph enlarged: colours by `upscale`, transparency by bicubic."""
        alpha = self.alpha
        if alpha is not None:
            top = np.iinfo(alpha.dtype).max
            wide = resize(alpha[..., None], scale)[..., 0]
            alpha = (wide + 0.5).clip(0, top).astype(alpha.dtype)
        return replace(self, rgb=upscale(self.rgb), alpha=alpha)


def read_photograph(path: Path) -> Photograph:
    """Read an image file with what an enlargement can keep.

    16 bits are kept of PNG, and of gray TIFF; elsewhere they become the upper 8, as `lost` reports.

    Raises:
        UserError: As in `srnas.data.images.read_rgb`.
    """
    rgb, alpha = read_with_alpha(path)  # raises the documented errors
    data, _ = read_file(path)
    opened = open_image(data)
    assert opened is not None, path
    gray = opened.mode in ("1", "L", "LA", "La") or opened.mode.startswith("I")
    profile = opened.info.get("icc_profile")
    deep, lost = None, ""
    if _bits(data, opened) == 16:
        deep = _read_deep(data, opened)
        if deep is None:
            lost = "its 16 bits became 8"
        else:
            rgb, alpha = deep
    return Photograph(rgb, alpha, gray, profile if isinstance(profile, bytes) else None, lost)


def write_photograph(path: Path, photograph: Photograph) -> None:
    """Write a photograph as PNG, atomically: gray, 16 bits, transparency and profile as they are.

    Gray of 16 bits with transparency is written as RGBA, since few programs read other forms.

    Raises:
        WriteError: The file cannot be written.
    """
    rgb, alpha = photograph.rgb, photograph.alpha
    if photograph.gray and not (rgb.dtype == np.uint16 and alpha is not None):
        channels = [_luma(rgb)]
    else:
        channels = [rgb[..., channel] for channel in range(3)]
    if alpha is not None:
        channels.append(alpha)
    if len(channels) == 2:
        buffer = io.BytesIO()
        Image.fromarray(np.dstack(channels), "LA").save(buffer, "PNG")
        encoded = buffer.getvalue()
    else:
        turned = channels if len(channels) == 1 else [*channels[2::-1], *channels[3:]]
        ok, array = cv2.imencode(".png", np.dstack(turned))
        assert ok, path
        encoded = array.tobytes()
    if photograph.profile is not None:
        encoded = _with_profile(encoded, photograph.profile)
    write_atomic(path, encoded)


def _bits(data: bytes, opened: Image.Image) -> int:
    """Return the bits of a channel; 8 where the file does not say."""
    if opened.format == "PNG":
        return data[24]
    tags: Any = getattr(opened, "tag_v2", {})
    return int(max(tags.get(258, (8,)))) if opened.format == "TIFF" else 8


def _read_deep(data: bytes, opened: Image.Image) -> tuple[Pixels, Pixels | None] | None:
    """Decode 16 bits; None where no decoder here does so rightly."""
    if opened.getexif().get(ORIENTATION, 1) != 1:
        return None
    if opened.format == "TIFF":
        if not opened.mode.startswith("I;16"):
            return None
        gray = np.asarray(opened).astype(np.uint16)
        return np.dstack([gray] * 3), None
    if "transparency" in opened.info:  # one colour is transparent
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    if pixels.ndim == 2:
        return np.dstack([pixels] * 3), None
    rgb = np.ascontiguousarray(pixels[..., 2::-1])
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    opaque = alpha is None or alpha.min() == np.iinfo(np.uint16).max
    return rgb, None if opaque else alpha


def _luma(rgb: Pixels) -> Pixels:
    """Return gray, (H, W), by the weights of ITU-R BT.601; equal channels give their value."""
    weights = np.array([0.299, 0.587, 0.114])
    gray: Pixels = (rgb.astype(np.float64) @ weights).round().astype(rgb.dtype)
    return gray


def _with_profile(png: bytes, profile: bytes) -> bytes:
    """Insert a chunk iCCP (PNG specification, 11.3.3.3)."""
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:PNG_START] + chunk + png[PNG_START:]
