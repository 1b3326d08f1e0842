"""MATLAB's `imresize(image, scale, 'bicubic')`, antialiased when it shrinks.

Each axis is a sparse matrix (output x input) of cubic weights, a = -0.5 (Keys, Cubic
convolution interpolation for digital image processing, 1981), widened by 1/scale for
shrinking, with symmetric padding: the axes are applied one after the other in float64.
"""

from functools import lru_cache
from math import ceil

import numpy as np
from scipy import sparse


def resize(image: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, C) of any real type -> (ceil(H*scale), ceil(W*scale), C) float64, not clipped."""
    height, width, channels = image.shape
    down = axis_weights(height, scale)
    across = axis_weights(width, scale)
    rows = down @ image.reshape(height, -1).astype(np.float64)
    by_column = rows.reshape(-1, width, channels).transpose(1, 0, 2).reshape(width, -1)
    resized = (across @ by_column).reshape(across.shape[0], -1, channels)
    return np.ascontiguousarray(resized.transpose(1, 0, 2))


def resize_uint8(image: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, C) uint8 -> uint8, rounded half up and clipped as MATLAB does at the end."""
    return (resize(image, scale) + 0.5).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def axis_weights(length: int, scale: float) -> sparse.csr_array:
    """The (ceil(length*scale), length) interpolation matrix of one axis; its rows sum to 1."""
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
    return matrix.tocsr()  # sums the weights that symmetric padding puts on one pixel


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, zero beyond |x| = 2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
