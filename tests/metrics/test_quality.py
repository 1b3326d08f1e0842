"""PSNR and SSIM against BasicSR and scikit-image."""

import math

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from srnas.basicsr_bridge import basicsr
from srnas.metrics.quality import luma, psnr, ssim
from srnas.tasks.super_resolution.protocols import PROTOCOLS
from tests.helpers import needs_basicsr


@pytest.fixture
def noisy(photo):
    noise = np.random.default_rng(0).normal(0, 8, photo.shape)
    return (photo + noise).clip(0, 255).round().astype(np.uint8)


@needs_basicsr
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_default_protocol_is_basicsrs(photo, noisy, scale):
    theirs = basicsr("metrics.psnr_ssim")
    bgr = photo[..., ::-1], noisy[..., ::-1]
    ours = PROTOCOLS["basicsr"](noisy, photo, scale)
    options = {"crop_border": scale, "test_y_channel": True}
    assert ours["psnr"] == pytest.approx(theirs.calculate_psnr(*bgr, **options), abs=1e-4)
    assert ours["ssim"] == pytest.approx(theirs.calculate_ssim(*bgr, **options), abs=1e-6)


def gaussian(x):
    """11x11 with sigma 1.5, where the window fits."""
    return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ntire_esr_has_the_formulas_of_the_challenge(photo, noisy, scale):
    a, b = (x[scale:-scale, scale:-scale].astype(np.float64) for x in (noisy, photo))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = gaussian(a), gaussian(b)
    variances = gaussian(a**2) - mean_a**2 + gaussian(b**2) - mean_b**2
    covariance = gaussian(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    ours = PROTOCOLS["ntire_esr"](noisy, photo, scale)
    assert ours["psnr"] == pytest.approx(20 * math.log10(255 / math.sqrt(np.mean((a - b) ** 2))))
    assert ours["ssim"] == pytest.approx(np.mean(luminance * structure), abs=1e-9)


@needs_basicsr
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ntire_esr_is_basicsrs_on_rgb(photo, noisy, scale):
    theirs = basicsr("metrics.psnr_ssim")
    ours = PROTOCOLS["ntire_esr"](noisy, photo, scale)
    assert ours["psnr"] == pytest.approx(theirs.calculate_psnr(photo, noisy, scale))
    assert ours["ssim"] == pytest.approx(theirs.calculate_ssim(photo, noisy, scale), abs=1e-6)


def test_psnr_is_scikit_images(photo, noisy):
    expected = peak_signal_noise_ratio(photo, noisy, data_range=255)
    assert psnr(photo, noisy) == pytest.approx(expected)


def test_psnr_of_a_known_difference():
    a = np.full((20, 20), 100.0)
    assert psnr(a, a + 25.5) == pytest.approx(20.0)
    assert psnr(a, a) == float("inf")


def test_luma_of_black_white_and_primaries_is_matlabs():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    expected = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966]
    assert luma(colours[None].astype(np.uint8))[0] == pytest.approx(expected)


def test_ssim_of_an_image_with_itself_is_one(photo):
    assert ssim(photo[..., 0], photo[..., 0]) == pytest.approx(1)


def test_ssim_of_constants_is_its_closed_form():
    # structure and contrast terms are 1: (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2
    a, b, c1 = 90.0, 130.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert ssim(np.full((16, 16), a), np.full((16, 16), b)) == pytest.approx(expected)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11x11"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))
