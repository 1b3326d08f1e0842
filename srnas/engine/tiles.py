"""Work on an image in overlapping tiles, to bound memory."""

from collections.abc import Iterator

import numpy as np

from srnas.engine.evaluate import Upscale
from srnas.errors import UserError


class Tiled:
    """`upscale` on tiles of an LR image, blended where they overlap.

    tile: side of a tile in LR pixels. overlap: LR pixels that neighbours share, less than half
    a tile; there the weight goes linearly from one tile to the next. Networks that pool over
    the whole image (IMDN's attention) see one tile at a time, so the result differs from the
    untiled one.
    """

    def __init__(self, upscale: Upscale, scale: int, tile: int, overlap: int = 16) -> None:
        if tile < 1 or not 0 <= overlap < tile / 2:
            raise UserError(
                f"--tile {tile} --overlap {overlap}: overlap must be less than half a tile"
            )
        self.upscale, self.scale, self.tile, self.overlap = upscale, scale, tile, overlap

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (scale*H, scale*W, 3) uint8."""
        s = self.scale
        height, width = lr.shape[:2]
        total = np.zeros((s * height, s * width, 3), np.float32)
        weight = np.zeros((s * height, s * width, 1), np.float32)
        for rows, row_weight in self._spans(height):
            for columns, column_weight in self._spans(width):
                sr = self.upscale(lr[rows, columns])
                where = (_scaled(rows, s), _scaled(columns, s))
                share = (row_weight[:, None] * column_weight)[:, :, None]
                total[where] += share * sr
                weight[where] += share
        return (total / weight).round().astype(np.uint8)

    def _spans(self, length: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices that cover `length` LR pixels, each with its SR pixels' weights."""
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


def _scaled(span: slice, scale: int) -> slice:
    return slice(span.start * scale, span.stop * scale)
