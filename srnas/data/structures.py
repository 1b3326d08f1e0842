"""Drawn images with repeated fine lines, on which networks of equal PSNR on photographs differ."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srnas.data.images import write_rgb

SIDE = 192  # pixels; a multiple of the scales 2, 3 and 4
PERIODS = (3.0, 3.7, 4.6, 5.8)  # pixels of HR; below 2 pixels of LR at x2, and above
ANGLES = (0, 17, 45, 73)  # degrees
SHARPNESS = 2.0  # of the edges
CONTRAST = 0.35
TINTS = ((1.0, 1.0, 1.0), (1.0, 0.8, 0.6), (0.6, 0.8, 1.0), (0.8, 1.0, 0.7))


def fine_structures() -> dict[str, NDArray[np.uint8]]:
    """Draw stripes of each period and angle, whose period grows by a tenth from top to bottom.

    Returns:
        Images (192, 192, 3) uint8 RGB by name, such as "3.7px_45deg".
    """
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    images = {}
    for number, period in enumerate(PERIODS):
        for angle in ANGLES:
            turn = np.deg2rad(angle)
            across = columns * np.cos(turn) + rows * np.sin(turn)
            wave = np.sin(2 * np.pi * across / (period * (1 + 0.1 * rows / SIDE)))
            light = 0.5 + CONTRAST * np.tanh(SHARPNESS * wave) / np.tanh(SHARPNESS)
            color = light[:, :, None] * np.array(TINTS[number])
            images[f"{period}px_{angle}deg"] = (255 * color).round().astype(np.uint8)
    return images


def write_structures(folder: Path) -> Path:
    """Write the images into a folder, and return it; those that are there stay."""
    for name, image in fine_structures().items():
        if not (folder / f"{name}.png").exists():
            write_rgb(folder / f"{name}.png", image)
    return folder
