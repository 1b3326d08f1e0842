"""MATLAB's bicubic against BasicSR's port and MATLAB's own files."""

import numpy as np
import pytest

from srnas.basicsr_bridge import basicsr
from srnas.data.bicubic import axis_weights, resize, resize_uint8
from srnas.data.images import ImagePair, benchmark_pairs, read_rgb
from tests.helpers import needs_basicsr


@needs_basicsr
@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 2, 3, 4])
def test_it_is_basicsrs_imresize(photo, scale):
    image = photo[:96, :132].astype(np.float32) / 255
    theirs = basicsr("utils.matlab_functions").imresize(image, scale)
    assert np.abs(resize(image, scale) - theirs).max() < 1e-4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_makes_matlabs_files_to_within_two_levels(shared, scale):
    for pair in benchmark_pairs(shared / "data" / "Set5", scale):
        made, _ = ImagePair(pair.name, pair.hr).load(scale)
        difference = np.abs(made.astype(int) - read_rgb(pair.lr))
        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.2


def test_a_straight_ramp_is_reproduced_inside():
    # Keys' kernel reproduces polynomials up to the second degree, away from the borders
    ramp = np.tile(np.arange(40.0)[None, :, None], (40, 1, 3))
    enlarged = resize(ramp, 2)[20, 10:-10, 0]
    expected = (np.arange(80) + 0.5) / 2 - 0.5
    assert enlarged == pytest.approx(expected[10:-10], abs=1e-9)


@pytest.mark.parametrize(("length", "scale"), [(5, 0.5), (7, 0.25), (4, 3), (1, 4)])
def test_weights_sum_to_one_even_for_tiny_images(length, scale):
    assert axis_weights(length, scale).sum(axis=1) == pytest.approx(1)


def test_uint8_results_are_rounded_and_clipped():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    result = resize_uint8(image, 2)
    assert result.min() == 0
    assert result.max() == 255
    assert resize(image, 2).max() > 255, "nothing overshoots: the test proves nothing"
