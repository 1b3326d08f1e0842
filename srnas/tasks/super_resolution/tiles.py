"""Upscaling in overlapping tiles, which bounds the memory use."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srnas.errors import UserError
from srnas.metrics.metric import Image
from srnas.progress import track
from srnas.tasks.super_resolution.evaluate import Upscale

WHOLE = 1 << 21  # LR pixels; IMDN x2 takes about 1 GB for a million
TILE = 512  # LR pixels
MARGIN = 10  # LR pixels around a tile that Real-ESRGAN-ncnn shows to a network as well


class Tiled:
    """Apply an upscaling method to tiles of an LR image and blend them where they overlap.

    In an overlap, the weights change linearly from one tile to the next. Networks that pool over
    the whole image (such as IMDN with its attention) see only one tile at a time, so that the
    result differs from the one without tiles.

    Args:
        scale: Scale factor of the method.
        tile: Side of a tile in LR pixels.
        overlap: Number of LR pixels that neighbouring tiles share; less than half a tile.
        name: What a terminal shows beside the bar of progress; no bar if it is empty.

    Raises:
        UserError: `tile` is below 1, or `overlap` is negative or not less than half a tile.
    """

    def __init__(
        self, upscale: Upscale, scale: int, tile: int, overlap: int = 16, name: str = ""
    ) -> None:
        if tile < 1 or not 0 <= overlap < tile / 2:
            raise UserError(
                f"--tile {tile} --overlap {overlap}: overlap must be less than half a tile"
            )
        self.upscale, self.scale, self.tile, self.overlap = upscale, scale, tile, overlap
        self.name = name

    def __call__(self, lr: Image) -> Image:
        """Upscale an image from (H, W, 3) to (scale * H, scale * W, 3), of the type of a tile."""
        s = self.scale
        height, width = lr.shape[:2]
        total = np.zeros((s * height, s * width, 3), np.float32)
        weight = np.zeros((s * height, s * width, 1), np.float32)
        tiles = list(product(self._spans(height), self._spans(width)))
        for (rows, row_weight), (columns, column_weight) in (
            track(tiles, self.name) if self.name else tiles
        ):
            sr = self.upscale(lr[rows, columns])
            where = (_scaled(rows, s), _scaled(columns, s))
            share = (row_weight[:, None] * column_weight)[:, :, None]
            total[where] += share * sr
            weight[where] += share
        blended: NDArray[Any] = total / weight
        return blended.round().astype(sr.dtype) if sr.dtype.kind in "iu" else blended

    def _spans(self, length: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield slices that cover `length` LR pixels, each with the weights of its SR pixels."""
        step = self.tile - self.overlap
        starts = list(range(0, max(length - self.overlap, 1), step))
        for start in starts:
            stop = min(start + self.tile, length)
            weight = np.ones((stop - start) * self.scale, np.float32)
            ramp = self.overlap * self.scale
            rise = (np.arange(ramp, dtype=np.float32) + 0.5) / max(ramp, 1)
            if start > 0:
                weight[:ramp] = np.minimum(weight[:ramp], rise[: len(weight)])
            if stop < length:
                weight[len(weight) - ramp :] = np.minimum(weight[len(weight) - ramp :], rise[::-1])
            yield slice(start, stop), weight


def in_parts(
    upscale: Upscale, scale: int, lr: Image, tile: int | None, overlap: int = 16, name: str = ""
) -> tuple[Upscale, int]:
    """Return a method that upscales an image in tiles if it must, and their side.

    Args:
        scale: Scale factor of the method.
        tile: Side of a tile in LR pixels; 0 for none; None to take tiles of `TILE` for an image of
            more than `WHOLE` pixels.
        overlap, name: See `Tiled`.

    Returns:
        The method, and the side of its tiles, 0 if it takes the image as a whole.

    Raises:
        UserError: See `Tiled`.
    """
    if tile is None:
        tile = TILE if lr.shape[0] * lr.shape[1] > WHOLE else 0
    return (Tiled(upscale, scale, tile, overlap, name), tile) if tile else (upscale, 0)


class MarginTiles:
    """Apply a method to tiles with a margin of 10 pixels that is cut off, as Real-ESRGAN-ncnn does.

    Args:
        scale: Scale factor of the method.
        tile: Side of a tile in LR pixels, without the margin.
    """

    def __init__(self, upscale: Upscale, scale: int, tile: int) -> None:
        self.upscale, self.scale, self.tile = upscale, scale, tile

    def __call__(self, lr: Image) -> Image:
        """Upscale an image from (H, W, 3) uint8 to (scale * H, scale * W, 3) uint8."""
        s, m = self.scale, MARGIN
        height, width = lr.shape[:2]
        wide = np.pad(lr, ((m, m), (m, m), (0, 0)), mode="edge")
        sr = np.empty((s * height, s * width, 3), np.uint8)
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                rows, columns = min(self.tile, height - top), min(self.tile, width - left)
                seen = wide[top : top + rows + 2 * m, left : left + columns + 2 * m]
                inner = self.upscale(seen)[s * m : s * (m + rows), s * m : s * (m + columns)]
                sr[s * top : s * (top + rows), s * left : s * (left + columns)] = inner
        return sr


def _scaled(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)
