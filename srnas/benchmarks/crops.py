"""Figures that compare upscaled images on an enlarged crop of the region where they differ most."""

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
from srnas.metrics.metric import Image
from srnas.metrics.quality import luma
from srnas.tasks.super_resolution.protocols import Protocol

DPI = 100
CROP, TITLE, GAP = 288, 42, 12  # pixels: minimum side of a crop, its two-line title, spacing
FRAME = "#ff2d2d"


def write_crops(
    path: Path,
    title: str,
    hr: Image,
    upscaled: Sequence[tuple[str, Image]],
    scale: int,
    protocol: Protocol,
) -> None:
    """Write a PNG of the HR image and of crops of every image.

    The crops show the region where the upscaled images differ most, which is framed in the HR
    image. The title of each crop gives the protocol's PSNR of the whole image and that of the crop.
    Crops are enlarged by an integer factor, so that each pixel is a square.

    Args:
        title: First line of the figure's title.
        hr: HR image, (H, W, 3) uint8 RGB.
        upscaled: Name and SR image of the same shape, one pair for each method.
        protocol: Protocol of the PSNR values.
    """
    top, left, side = most_different_region([image for _, image in upscaled], scale)
    region = np.s_[top : top + side, left : left + side]
    crops = [("HR\nPSNR: image / crop", hr[region])]
    psnr = {"psnr": protocol.metrics["psnr"]}
    for name, image in upscaled:
        whole = protocol(image, hr, scale, psnr)["psnr"]
        in_crop = psnr["psnr"](image[region], hr[region], 0)
        crops.append((f"{name}\n{whole:.2f} / {in_crop:.2f} dB", image[region]))
    frame = Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=FRAME, lw=2)
    frame.set_path_effects([withStroke(linewidth=4, foreground="white")])  # visible on red, too
    buffer = io.BytesIO()
    figure = _figure(f"{title}\nx{scale}, protocol {protocol.name}", hr, frame, crops)
    figure.savefig(buffer, format="png")
    write_atomic(path, buffer.getvalue())


def _figure(title: str, hr: Image, frame: Rectangle, crops: Sequence[tuple[str, Image]]) -> Figure:
    """Draw HR on the left and the crops on the right, both equally high.

    Up to three crops make one row, more make two.
    """
    rows = 1 if len(crops) <= 3 else 2
    columns = ceil(len(crops) / rows)
    side = len(crops[0][1])
    tile = side * ceil(CROP / side)
    height = rows * (tile + TITLE + GAP) + GAP
    hr_height = height - TITLE - 2 * GAP
    hr_width = round(hr_height * float(np.clip(hr.shape[1] / hr.shape[0], 0.6, 1.8)))
    width = GAP + hr_width + GAP + columns * (tile + GAP)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def place(text: str, x: int, y: int, w: int, h: int) -> Axes:
        """Return axes of w x h pixels with their upper left corner at pixel (x, y)."""
        axes = figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))
        axes.set_axis_off()
        axes.set_title(text, fontsize=9, parse_math=False)  # names may contain "$"
        return axes

    axes = place(title, GAP, GAP + TITLE, hr_width, hr_height)
    axes.imshow(hr, interpolation="auto")
    axes.add_patch(frame)
    for index, (text, crop) in enumerate(crops):
        row, column = divmod(index, columns)
        x = GAP + hr_width + GAP + column * (tile + GAP)
        y = GAP + TITLE + row * (tile + TITLE + GAP)
        place(text, x, y, tile, tile)
        # Pixel by pixel: imshow with "nearest" is off by one at some sizes before matplotlib 3.11.
        enlarged = crop.repeat(tile // side, 0).repeat(tile // side, 1)
        figure.figimage(enlarged, x, height - y - tile, origin="upper")
    return figure


def most_different_region(images: Sequence[Image], scale: int) -> tuple[int, int, int]:
    """Find the square region where the images differ most.

    The difference is the variance of luma across the images, with luma rounded to 8 bits, summed
    over the square. Among equal squares, the first in reading order is taken. The side is a sixth
    of the image's shorter side, clipped to [32, 128] where the image is large enough. Side and
    position are multiples of the scale. The outermost `scale` pixels, which protocols cut off, are
    excluded.

    Args:
        images: Images of equal shape (H, W, 3), uint8 RGB. H and W are multiples of the scale, and
            at least 3 * scale.

    Returns:
        Top, left and side of the region in pixels.
    """
    stack = np.stack([luma(image).round() for image in images]).astype(np.int64)
    # Computed in integers, up to a constant factor, so that sums and ties are exact.
    variance = len(stack) * (stack**2).sum(0) - stack.sum(0) ** 2
    rows, columns = (length // scale for length in variance.shape)
    cells = variance.reshape(rows, scale, columns, scale).sum((1, 3))[1:-1, 1:-1]
    side = min(int(np.clip(min(variance.shape) // 6, 32, 128)) // scale, *cells.shape)
    total = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return (int(top) + 1) * scale, (int(left) + 1) * scale, side * scale
