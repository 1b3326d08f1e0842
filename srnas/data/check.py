"""Check image folders: list every faulty pair, and find images that are in two sets."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from srnas.data.images import ImagePair, list_images, read_rgb
from srnas.errors import UserError

NEAR = 6  # differing bits out of 63; unrelated photographs differ in about 32


def faults(pairs: Sequence[ImagePair], scale: int) -> list[str]:
    """Return one line for each pair that cannot be read or does not fit the scale."""

    def fault(pair: ImagePair) -> str | None:
        try:
            pair.read(scale)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        return [line for line in pool.map(fault, pairs) if line]


def near_duplicates(folder: Path, others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Find images of a folder that look like images of other folders.

    Images are compared by `perceptual_hash`. This finds copies that were scaled, recompressed or
    slightly cropped, but not small parts of a large image. Unreadable images are skipped;
    `faults` reports them.

    Args:
        folder: The folder to check.
        others: The folders to compare it with.

    Returns:
        Pairs (image of `folder`, image of one of the others).

    Raises:
        UserError: A folder is missing or contains no images.
    """
    ours = _hashes(list_images(folder))
    found = []
    for other in others:
        theirs = _hashes(list_images(other))
        if not ours or not theirs:
            continue
        a, b = np.stack(list(ours.values())), np.stack(list(theirs.values()))
        distance = (a[:, None] != b[None]).sum(-1)
        names = list(ours), list(theirs)
        found += [(names[0][i], names[1][j]) for i, j in np.argwhere(distance <= NEAR)]
    return found


def perceptual_hash(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Compute a perceptual hash from the low DCT frequencies of the image at 32x32, in gray.

    Args:
        image: RGB of shape (H, W, 3).

    Returns:
        63 bits, shape (63,): whether each of the 8x8 lowest coefficients, without the constant
        one, is above their median.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    low = dctn(small)[:8, :8].ravel()[1:]
    above: NDArray[np.bool_] = low > np.median(low)
    return above


def _hashes(files: Sequence[Path]) -> dict[Path, NDArray[np.bool_]]:
    def one(file: Path) -> NDArray[np.bool_] | None:
        try:
            return perceptual_hash(read_rgb(file))
        except UserError:
            return None

    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(files, pool.map(one, files), strict=True))
    return {file: h for file, h in hashes.items() if h is not None}
