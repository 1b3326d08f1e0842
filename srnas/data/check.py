"""What is wrong with image folders: all faults, and images that stand in two sets."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from scipy.fft import dctn

from srnas.data.images import ImagePair, list_images, read_rgb
from srnas.errors import UserError

NEAR = 6  # of 63 bits; unrelated photographs differ in about 32


def faults(pairs: Sequence[ImagePair], scale: int) -> list[str]:
    """One line for each pair that cannot be read or does not fit the scale."""

    def fault(pair: ImagePair) -> str | None:
        try:
            pair.read(scale)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        return [line for line in pool.map(fault, pairs) if line]


def near_duplicates(folder: Path, others: Sequence[Path]) -> list[tuple[Path, Path]]:
    """(image of `folder`, image of one of the others) that look alike.

    By perceptual hash (63 signs of low DCT frequencies of a 32x32 gray image): it finds copies
    that were scaled, recompressed or slightly cropped, not small parts of a large image.
    Unreadable images are passed over: `faults` tells them.
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


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (63,) bool."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    low = dctn(small)[:8, :8].ravel()[1:]
    return low > np.median(low)


def _hashes(files: Sequence[Path]) -> dict[Path, np.ndarray]:
    def one(file: Path) -> np.ndarray | None:
        try:
            return perceptual_hash(read_rgb(file))
        except UserError:
            return None

    with ThreadPoolExecutor() as pool:
        hashes = dict(zip(files, pool.map(one, files), strict=True))
    return {file: h for file, h in hashes.items() if h is not None}
