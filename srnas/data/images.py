"""Read and write photographs, and pair HR with LR images.

Every error message names the file at fault.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from srnas.data.bicubic import resize_uint8
from srnas.data.headers import PILLOW_ERRORS, beyond_pillow, open_image, read_file
from srnas.errors import UserError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".ppm", ".pgm", ".pnm"}
)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB.

    Returns:
        RGB of shape (H, W, 3), turned as EXIF asks for. Gray, palettes and 1 bit become RGB, 16
        bits become the upper 8, and CMYK is converted by the plain formula. Transparency is
        dropped; the colours stay as they are in the file.

    Raises:
        UserError: The file is missing, not an image, truncated, or refused for its size or kind
            (see `srnas.data.headers.read_file`).
    """
    return read_with_alpha(path)[0]


def read_with_alpha(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Read an image file as `read_rgb` does, with its transparency.

    Returns:
        RGB of shape (H, W, 3), and alpha of shape (H, W), from 0 (transparent) to 255; None if all
        pixels are opaque.

    Raises:
        UserError: As in `read_rgb`.
    """
    data, header = read_file(path)
    if _is_truncated(data):
        raise UserError(f"{path}: truncated image ({len(data)} bytes); fetch the file again")
    try:
        if header.by_pillow:
            return _decode_by_pillow(data)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except Image.DecompressionBombError as error:
        raise beyond_pillow(path, error) from error
    except (cv2.error, *PILLOW_ERRORS):
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image; replace it, remove it or convert it to PNG")
    return cast(NDArray[np.uint8], cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), None


def _decode_by_pillow(data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    opened = open_image(data)
    assert opened is not None, "its header was read before"
    clear = opened.info.get("transparency")
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # gray of 16 bits
        values = np.asarray(image)
        gray = (values >> 8).astype(np.uint8)
        alpha = np.full_like(gray, 255)
        alpha[values == clear] = 0
        rgb = np.stack([gray] * 3, -1)
    else:
        rgba = np.asarray(image.convert("RGBA"))
        rgb, alpha = np.ascontiguousarray(rgba[..., :3]), rgba[..., 3]
    return rgb, None if alpha.min() == 255 else alpha


def write_rgb(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image of shape (H, W, 3) as PNG, atomically."""
    from srnas.files import write_atomic

    ok, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok, path
    write_atomic(path, encoded.tobytes())


def is_image(name: str) -> bool:
    """Return whether a file name is that of an image, and not of a hidden file."""
    # macOS stores what belongs to x.png in ._x.png.
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """List the image files of a folder, sorted by name, without hidden ones.

    Raises:
        UserError: The folder is missing, cannot be read, or contains no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder of images; `srnas data download` fetches the usual sets"
        )
    try:
        files = sorted(p for p in folder.iterdir() if is_image(p.name) and p.is_file())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    if not files:
        raise UserError(f"{folder}: holds no images ({', '.join(sorted(SUFFIXES))})")
    return files


@dataclass(frozen=True)
class DecodedPair:
    """A pair of images in memory.

    Attributes:
        name: Name of the pair.
        lr: RGB of shape (h, w, 3).
        hr: RGB of shape (scale*h, scale*w, 3).
    """

    name: str
    lr: NDArray[np.uint8]
    hr: NDArray[np.uint8]

    def load(self, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return (LR, HR), which must have this scale."""
        assert self.hr.shape[0] == scale * self.lr.shape[0], (self.name, scale)
        return self.lr, self.hr


def decode(pairs: Sequence["ImagePair"], scale: int) -> list[DecodedPair]:
    """Load pairs in parallel threads, since OpenCV decodes without holding Python's GIL.

    Raises:
        UserError: A pair cannot be loaded (see `ImagePair.load`); the first such pair is
            reported.
    """
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(lambda pair: pair.load(scale), pairs)
        return [DecodedPair(pair.name, *both) for pair, both in zip(pairs, loaded, strict=True)]


@dataclass(frozen=True)
class ImagePair:
    """The files of an HR image and its LR counterpart.

    Attributes:
        name: Name of the pair.
        hr: File of the HR image.
        lr: File of the LR image; None to compute it from HR with MATLAB's bicubic.
    """

    name: str
    hr: Path
    lr: Path | None = None

    @property
    def file(self) -> Path:
        """The file that messages name."""
        return self.hr

    def load(self, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Load the pair.

        HR is cropped at the right and bottom to a multiple of the scale, as the `modcrop` of
        MATLAB scripts does.

        Returns:
            (LR, HR) as RGB of shapes (h, w, 3) and (scale*h, scale*w, 3).

        Raises:
            UserError: A file cannot be read, HR is smaller than the scale, or the sizes of the
                two files do not fit.
        """
        lr, hr = self.read(scale)
        return (resize_uint8(hr, 1 / scale) if lr is None else lr), hr

    def read(self, scale: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]]:
        """Read, check and crop the files as `load` does, but do not compute a missing LR image.

        Returns:
            (LR, HR), where LR is None if there is no LR file.

        Raises:
            UserError: As in `load`.
        """
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


@dataclass(frozen=True)
class LRImage:
    """The file of an LR image without an HR counterpart.

    Attributes:
        name: Name of the image.
        lr: The file.
    """

    name: str
    lr: Path
    hr: None = None

    @property
    def file(self) -> Path:
        """The file that messages name."""
        return self.lr

    def load(self, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return (LR, HR), where HR is empty, (0, 0, 3); UserError if the file cannot be read."""
        return read_rgb(self.lr), np.empty((0, 0, 3), np.uint8)


TrainingImage = ImagePair | LRImage
"""What patches are cut from."""


def pair_folders(hr_folder: Path, lr_folder: Path | None, scale: int) -> list[ImagePair]:
    """Pair the images of a folder with their LR files.

    Args:
        hr_folder: Folder of the HR images.
        lr_folder: Folder of the LR images; None to compute them from HR. The LR image of
            `NAME.png` is named `NAMEx{scale}` or `NAME`, with any image suffix.

    Raises:
        UserError: A folder is missing or empty, an HR image has no LR file, or two images of a
            folder differ only in their suffix, so LR and HR cannot be matched.
    """
    hr_files = list_images(hr_folder)
    if lr_folder is None:
        return [ImagePair(path.stem, path) for path in hr_files]
    by_stem, pairs = _by_stem(list_images(lr_folder)), []
    _by_stem(hr_files)  # two of one name would have the same LR image
    for path in hr_files:
        lr = by_stem.get(f"{path.stem}x{scale}") or by_stem.get(path.stem)
        if lr is None:
            raise UserError(
                f"{lr_folder}: no LR image for {path.name}; "
                f"expected {path.stem}x{scale}.png or {path.stem}.png"
            )
        pairs.append(ImagePair(path.stem, path, lr))
    return pairs


def check_file_names(pairs: Sequence[ImagePair], suffix: str = ".png") -> None:
    """Check that a file can be named after each pair, by its name and a suffix.

    Raises:
        UserError: Two pairs have the same name, or `srnas.files.file_name` refuses one.
    """
    from srnas.files import file_name

    _by_stem([pair.hr for pair in pairs])
    for pair in pairs:
        file_name(f"{pair.name}{suffix}", str(pair.hr.parent))


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    """Return the files by their names without suffix."""
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(file.stem, file)
        if other != file:
            raise UserError(f"{other} and {file}: two images of the same name; rename one")
    return named


def benchmark_pairs(folder: Path, scale: int, use_lr_files: bool = True) -> list[ImagePair]:
    """Return the pairs of a benchmark set.

    Args:
        folder: Contains `HR/` and optionally `LR_bicubic/X{scale}/`, or just HR images.
        use_lr_files: Whether to use the LR files if they are present; otherwise LR is computed
            from HR.

    Raises:
        UserError: As in `pair_folders`.
    """
    folder = Path(folder)
    if not (folder / "HR").is_dir():
        return pair_folders(folder, None, scale)
    lr_folder = folder / "LR_bicubic" / f"X{scale}"
    given = use_lr_files and lr_folder.is_dir()
    return pair_folders(folder / "HR", lr_folder if given else None, scale)


def select(pairs: list[ImagePair], images: str | None, where: str) -> list[ImagePair]:
    """Select a range of pairs.

    Args:
        images: "FIRST-LAST", counted from 1, both inclusive; None for all pairs.

    Raises:
        UserError: `images` is not a range, or not within the pairs.
    """
    if images is None:
        return pairs
    match = re.fullmatch(r"(\d+)-(\d+)", images)
    if not match:
        raise UserError(f"{where}: images: {images!r} is not a range such as 1-600")
    first, last = map(int, match.groups())
    if not 1 <= first <= last <= len(pairs):
        raise UserError(f"{where}: images: {images} is outside 1-{len(pairs)}")
    return pairs[first - 1 : last]


def check_disjoint(splits: Mapping[str, Sequence[TrainingImage]]) -> None:
    """Raise a UserError if an image file is in two splits."""
    owner: dict[Path, str] = {}
    for split, pairs in splits.items():
        for pair in pairs:
            path = pair.file.resolve()
            if owner.setdefault(path, split) != split:
                raise UserError(f"data: {pair.file} is in both {owner[path]} and {split}")


def _is_truncated(data: bytes) -> bool:
    """Return whether a PNG or JPEG ends early.

    Decoders fill the missing part with gray and do not report it.
    """
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
