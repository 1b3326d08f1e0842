"""Pictures that compare upscaled images: the region where they differ most, enlarged."""

import io
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from srnas.files import write_atomic
from srnas.metrics import Protocol
from srnas.metrics.quality import luma, psnr

DPI = 100
CROP, TITLE, GAP = 288, 42, 12  # pixels: a crop's least side, its two lines of title, between
FRAME = "#ff2d2d"


def write_crops(
    path: Path,
    title: str,
    hr: np.ndarray,
    upscaled: Sequence[tuple[str, np.ndarray, float]],
    scale: int,
    protocol: Protocol,
) -> None:
    """Write a PNG of HR, its most different region framed, and of that region in every image.

    hr: (H, W, 3) uint8 RGB. upscaled: name, image of HR's shape, and its PSNR in dB as a whole.
    Over each crop stands that PSNR, and the crop's own on the protocol's channel. Crops are
    enlarged by a whole factor: each of their pixels is a square.
    """
    top, left, side = most_different_region([image for _, image, _ in upscaled], scale)
    region = np.s_[top : top + side, left : left + side]
    crops = [("HR\nPSNR: image / crop", hr[region])]
    for name, image, whole in upscaled:
        part = psnr(protocol.channel(image[region]), protocol.channel(hr[region]))
        crops.append((f"{name}\n{whole:.2f} / {part:.2f} dB", image[region]))
    frame = Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=FRAME, lw=2)
    frame.set_path_effects([withStroke(linewidth=4, foreground="white")])  # seen on red, too
    buffer = io.BytesIO()
    figure = _figure(f"{title}\nx{scale}, protocol {protocol.name}", hr, frame, crops)
    figure.savefig(buffer, format="png")
    write_atomic(path, buffer.getvalue())


def _figure(
    title: str, hr: np.ndarray, frame: Rectangle, crops: Sequence[tuple[str, np.ndarray]]
) -> Figure:
    """HR at the left, as high as the crops at the right: one row of up to three, else two."""
    rows = 1 if len(crops) <= 3 else 2
    columns = ceil(len(crops) / rows)
    side = len(crops[0][1])
    tile = side * ceil(CROP / side)
    height = rows * (tile + TITLE + GAP) + GAP
    hr_height = height - TITLE - 2 * GAP
    hr_width = round(hr_height * float(np.clip(hr.shape[1] / hr.shape[0], 0.6, 1.8)))
    width = GAP + hr_width + GAP + columns * (tile + GAP)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def show(image: np.ndarray, text: str, x: int, y: int, w: int, h: int, how: str) -> Axes:
        """An image w x h pixels large, its upper left corner x, y from the figure's."""
        axes = figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))
        axes.set_axis_off()
        axes.imshow(image, interpolation=how)
        axes.set_title(text, fontsize=9, parse_math=False)  # "$" in a name is just that
        return axes

    show(hr, title, GAP, GAP + TITLE, hr_width, hr_height, "auto").add_patch(frame)
    for index, (text, crop) in enumerate(crops):
        row, column = divmod(index, columns)
        x = GAP + hr_width + GAP + column * (tile + GAP)
        y = GAP + TITLE + row * (tile + TITLE + GAP)
        show(crop, text, x, y, tile, tile, "nearest")
    return figure


def most_different_region(images: Sequence[np.ndarray], scale: int) -> tuple[int, int, int]:
    """(top, left, side) in pixels of the square where the images differ most.

    images: (H, W, 3) uint8 RGB, at least 3 * scale pixels high and wide, multiples of the scale.
    The difference is the variance over the images of their luma, rounded to 8 bits, summed over
    the square; of equal ones the first in reading order is taken. The side is a sixth of the
    image's smaller one, but 32 to 128 where the image is large enough. It and the place are
    multiples of the scale; the outermost `scale` pixels, which protocols cut off, stay outside.
    """
    stack = np.stack([luma(image).round() for image in images]).astype(np.int64)
    variance = len(stack) * (stack**2).sum(0) - stack.sum(0) ** 2  # integers: exact sums and ties
    rows, columns = (length // scale for length in variance.shape)
    cells = variance.reshape(rows, scale, columns, scale).sum((1, 3))[1:-1, 1:-1]
    side = min(int(np.clip(min(variance.shape) // 6, 32, 128)) // scale, *cells.shape)
    total = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return (int(top) + 1) * scale, (int(left) + 1) * scale, side * scale
