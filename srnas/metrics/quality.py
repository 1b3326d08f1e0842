"""PSNR, SSIM and luma as pure functions of NumPy arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MATLAB_LUMA = np.array([65.481, 128.553, 24.966]) / 255
SSIM_WINDOW = 11


def luma(image: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the luma Y of an RGB image after BT.601, as MATLAB's `rgb2ycbcr` does.

    Args:
        image: RGB of shape (H, W, 3), values in [0, 255].

    Returns:
        Y of shape (H, W), values in [16, 235], not rounded.

    >>> black_and_white = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    >>> luma(black_and_white).round(3).tolist()
    [[16.0, 235.0]]
    """
    return image.astype(np.float64) @ MATLAB_LUMA + 16.0


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the peak signal-to-noise ratio of two arrays.

    Args:
        a: Values in [0, 255], of any shape.
        b: Values in [0, 255], of the same shape.

    Returns:
        10 log10(255^2 / MSE) in dB; inf if the arrays are equal.

    >>> image = np.full((8, 8), 100.0)
    >>> round(psnr(image, image + 25.5), 6)
    20.0
    >>> psnr(image, image)
    inf
    """
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the structural similarity (SSIM; Wang et al., 2004) of two images.

    The window is an 11x11 Gaussian with sigma 1.5. The result is the mean over all positions
    where the window fits into the image, and over the channels.

    Args:
        a: Shape (H, W) or (H, W, C), values in [0, 255].
        b: The other image, of the same shape and range.

    Raises:
        ValueError: The images are smaller than 11x11 pixels.

    >>> image = np.arange(256.0).reshape(16, 16)
    >>> round(ssim(image, image), 6)
    1.0
    >>> round(ssim(np.full((16, 16), 90.0), np.full((16, 16), 130.0)), 4)
    0.936
    """
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {a.shape}")
    from skimage.metrics import structural_similarity  # slow to import and seldom needed

    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=255.0,
            channel_axis=2 if a.ndim == 3 else None,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
