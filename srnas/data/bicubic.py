"""MATLAB's `imresize(image, scale, 'bicubic')`, with antialiasing when the image shrinks.

The resizing of each axis is a sparse matrix (output x input) of cubic weights with a = -0.5
(Keys, Cubic convolution interpolation for digital image processing, 1981). For shrinking, the
kernel is widened by 1/scale. Borders are padded symmetrically. The two matrices are applied one
after the other in float64.
"""

from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def resize(image: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Resize an image without rounding or clipping the result.

    Args:
        image: Shape (H, W, C), of any real dtype.
        scale: The factor of both sides; below 1 the image shrinks.

    Returns:
        Shape (ceil(H*scale), ceil(W*scale), C). Values may overshoot the range of the input.

    >>> step = np.zeros((4, 4, 1))
    >>> step[:, 2:] = 64
    >>> resize(step, 0.5)[0, :, 0].round(4).tolist()
    [3.5, 60.5]
    >>> resize(step, 2).shape
    (8, 8, 1)
    """
    height, width, channels = image.shape
    down = axis_weights(height, scale)
    across = axis_weights(width, scale)
    rows = down @ image.reshape(height, -1).astype(np.float64)
    by_column = rows.reshape(-1, width, channels).transpose(1, 0, 2).reshape(width, -1)
    resized = (across @ by_column).reshape(across.shape[0], -1, channels)
    return np.ascontiguousarray(resized.transpose(1, 0, 2))


def resize_uint8(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize an 8-bit image; round half up and clip at the end, as MATLAB does.

    Args:
        image: Shape (H, W, C).
        scale: The factor of both sides; below 1 the image shrinks.

    Returns:
        Shape (ceil(H*scale), ceil(W*scale), C).

    >>> step = np.zeros((4, 4, 1), np.uint8)
    >>> step[:, 2:] = 200
    >>> resize_uint8(step, 2)[0, :, 0].tolist()
    [0, 0, 0, 41, 159, 214, 205, 200]
    """
    return (resize(image, scale) + 0.5).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def axis_weights(length: int, scale: float) -> sparse.csr_array:
    """Return the (ceil(length*scale), length) interpolation matrix of one axis.

    Its rows sum to 1.
    """
    stretch = min(scale, 1.0)
    out = ceil(length * scale)
    centre = (np.arange(out) + 0.5) / scale - 0.5
    support = ceil(4 / stretch) + 2
    left = np.floor(centre - 2 / stretch).astype(np.int64)
    taps = left[:, None] + np.arange(support)
    weights = stretch * cubic(stretch * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    period = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    columns = period[taps % (2 * length)]
    rows = np.repeat(np.arange(out), support)
    matrix = sparse.coo_array((weights.ravel(), (rows, columns.ravel())), shape=(out, length))
    return matrix.tocsr()  # sums the weights that symmetric padding maps to the same pixel


def cubic(x: NDArray[Any]) -> NDArray[np.float64]:
    """Evaluate Keys' cubic convolution kernel with a = -0.5; it is zero beyond |x| = 2.

    >>> cubic(np.array([0, 0.5, 1, 1.5, 2, 3])).tolist()
    [1.0, 0.5625, 0.0, -0.0625, 0.0, 0.0]
    """
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
