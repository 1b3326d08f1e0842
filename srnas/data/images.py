"""Reading photographs and pairing HR with LR; every fault names its file."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from srnas.data.bicubic import resize_uint8
from srnas.errors import UserError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm", ".pgm", ".pnm"}
)


def read_rgb(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, in any format OpenCV reads.

    Gray becomes three equal channels, 16 bits become 8, transparency is dropped. UserError
    if the file is missing, not an image, or cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such image file")
    data = path.read_bytes()
    if _is_truncated(data):
        raise UserError(f"{path}: truncated image ({len(data)} bytes); fetch the file again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image; replace or remove the file")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_rgb(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, whole or not at all."""
    from srnas.files import write_atomic

    ok, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok, path
    write_atomic(path, encoded.tobytes())


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder by name order; UserError if it is missing or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UserError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return files


@dataclass(frozen=True)
class DecodedPair:
    """A pair in memory: (h, w, 3) and (scale*h, scale*w, 3) uint8 RGB."""

    name: str
    lr: np.ndarray
    hr: np.ndarray

    def load(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """(LR, HR), which must be of this scale."""
        assert self.hr.shape[0] == scale * self.lr.shape[0], (self.name, scale)
        return self.lr, self.hr


def decode(pairs: Sequence["ImagePair"], scale: int) -> list[DecodedPair]:
    """Load pairs side by side (OpenCV decodes outside Python's lock); the first fault is told."""
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(lambda pair: pair.load(scale), pairs)
        return [DecodedPair(pair.name, *both) for pair, both in zip(pairs, loaded, strict=True)]


@dataclass(frozen=True)
class ImagePair:
    """An HR image and its LR counterpart; `lr` None means: made by MATLAB's bicubic."""

    name: str
    hr: Path
    lr: Path | None = None

    def load(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """(LR, HR) as uint8 (h, w, 3) and (scale*h, scale*w, 3).

        HR is cropped at the right and bottom to a multiple of the scale (as MATLAB's
        `modcrop`). UserError if the sizes of two given files do not fit.
        """
        lr, hr = self.read(scale)
        return (resize_uint8(hr, 1 / scale) if lr is None else lr), hr

    def read(self, scale: int) -> tuple[np.ndarray | None, np.ndarray]:
        """The files' pixels, checked and cropped as `load` does; LR None if it is to be made."""
        hr = read_rgb(self.hr)
        height, width = (side // scale for side in hr.shape[:2])
        if not height or not width:
            raise UserError(f"{self.hr}: {hr.shape[1]}x{hr.shape[0]} is too small for x{scale}")
        cropped = hr[: height * scale, : width * scale]
        if self.lr is None:
            return None, cropped
        lr = read_rgb(self.lr)
        if lr.shape[:2] != (height, width):
            raise UserError(
                f"{self.lr}: {lr.shape[1]}x{lr.shape[0]} does not fit {self.hr} "
                f"({hr.shape[1]}x{hr.shape[0]}) at scale {scale}; expected {width}x{height}"
            )
        return lr, cropped


def pair_folders(hr_folder: Path, lr_folder: Path | None, scale: int) -> list[ImagePair]:
    """The images of `hr_folder`, each with its LR file if `lr_folder` is given.

    The LR of `NAME.png` is `NAMEx{scale}` or `NAME` with any image suffix. UserError for an
    HR image without one.
    """
    hr_files = list_images(hr_folder)
    if lr_folder is None:
        return [ImagePair(path.stem, path) for path in hr_files]
    by_stem = {path.stem: path for path in list_images(lr_folder)}
    pairs = []
    for path in hr_files:
        lr = by_stem.get(f"{path.stem}x{scale}") or by_stem.get(path.stem)
        if lr is None:
            raise UserError(
                f"{lr_folder}: no LR image for {path.name}; "
                f"expected {path.stem}x{scale}.png or {path.stem}.png"
            )
        pairs.append(ImagePair(path.stem, path, lr))
    return pairs


def benchmark_pairs(folder: Path, scale: int, use_lr_files: bool = True) -> list[ImagePair]:
    """A benchmark set: `HR/` with, if present, `LR_bicubic/X{scale}/`; or just HR images."""
    folder = Path(folder)
    if not (folder / "HR").is_dir():
        return pair_folders(folder, None, scale)
    lr_folder = folder / "LR_bicubic" / f"X{scale}"
    given = use_lr_files and lr_folder.is_dir()
    return pair_folders(folder / "HR", lr_folder if given else None, scale)


def select(pairs: list[ImagePair], images: str | None, where: str) -> list[ImagePair]:
    """The pairs that "FIRST-LAST" names, 1-based and inclusive; all of them for None."""
    if images is None:
        return pairs
    match = re.fullmatch(r"(\d+)-(\d+)", images)
    if not match:
        raise UserError(f"{where}: images: {images!r} is not a range such as 1-600")
    first, last = map(int, match.groups())
    if not 1 <= first <= last <= len(pairs):
        raise UserError(f"{where}: images: {images} is outside 1-{len(pairs)}")
    return pairs[first - 1 : last]


def _is_truncated(data: bytes) -> bool:
    """Whether a PNG or JPEG ends early; decoders fill the rest with gray and say nothing."""
    for magic, check in _END_CHECKS.items():
        if data.startswith(magic):
            return not check(data)
    return False


def _png_is_whole(data: bytes) -> bool:
    offset = 8
    while offset + 12 <= len(data):
        length, kind = (
            int.from_bytes(data[offset : offset + 4], "big"),
            data[offset + 4 : offset + 8],
        )
        offset += 12 + length
        if kind == b"IEND":
            return offset <= len(data)
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    return b"\xff\xd9" in data[data.rfind(b"\xff\xda") :]


_END_CHECKS: dict[bytes, Callable[[bytes], bool]] = {
    b"\x89PNG\r\n\x1a\n": _png_is_whole,
    b"\xff\xd8\xff": _jpeg_is_whole,
}
