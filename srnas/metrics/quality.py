"""PSNR, SSIM and luma as pure functions on numpy arrays."""

import numpy as np

MATLAB_LUMA = np.array([65.481, 128.553, 24.966]) / 255
SSIM_WINDOW = 11


def luma(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB in [0, 255] -> (H, W) Y in [16, 235], BT.601 as MATLAB's `rgb2ycbcr`."""
    return image.astype(np.float64) @ MATLAB_LUMA + 16.0


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays in [0, 255]; inf if they are equal."""
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM (Wang et al., 2004) of two (H, W) or (H, W, C) arrays in [0, 255], the mean over all
    places where the 11x11 Gaussian window (sigma 1.5) fits, and over channels.

    Raises ValueError below 11 x 11 pixels.
    """
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {a.shape}")
    from skimage.metrics import structural_similarity  # slow to import, and seldom needed

    return float(
        structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=255.0,
            channel_axis=2 if a.ndim == 3 else None,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )
