"""Pictures of crops: the region is the right one, and its pixels are shown as they are."""

import cv2
import numpy as np
import pytest

from srnas.benchmarks.crops import most_different_region, write_crops
from srnas.data.images import read_rgb
from srnas.tasks.super_resolution.protocols import PROTOCOLS


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_region_is_where_a_difference_was_planted(photo, scale):
    hr = photo[: 300 // scale * scale, : 450 // scale * scale]
    side = 50 // scale * scale  # a sixth of 300
    top, left = 37 * scale, 61 * scale
    other = hr.copy()
    other[top : top + side, left : left + side] ^= 32
    assert most_different_region([hr, other, hr], scale) == (top, left, side)


@pytest.mark.parametrize(("scale", "height", "width"), [(2, 48, 62), (3, 60, 45), (4, 40, 64)])
def test_the_region_is_the_best_of_all_by_search(scale, height, width):
    images = list(np.random.default_rng(scale).integers(0, 256, (4, height, width, 3), np.uint8))
    # Y as scikit-image has it, and numpy's variance
    from skimage.color import rgb2ycbcr

    variance = np.var([rgb2ycbcr(image)[..., 0].round() for image in images], axis=0)
    found = most_different_region(images, scale)
    side = found[2]
    assert side == min(32 // scale, min(height, width) // scale - 2) * scale
    windows = {
        (top, left): variance[top : top + side, left : left + side].sum()
        for top in range(scale, height - scale - side + 1, scale)
        for left in range(scale, width - scale - side + 1, scale)
    }
    assert found[:2] == max(windows, key=windows.get)


def test_of_equal_regions_the_first_is_taken_and_the_cut_border_does_not_count():
    flat = np.full((120, 160, 3), 128, np.uint8)
    assert most_different_region([flat] * 3, 4) == (4, 4, 32)
    border = np.zeros_like(flat)
    border[4:-4, 4:-4] = 128
    assert most_different_region([flat, border], 4) == (4, 4, 32)
    twice = flat.copy()
    twice[60:70, 40:50] = twice[60:70, 100:110] = 0
    top, left, side = most_different_region([flat, twice], 4)
    assert (top, left) == (40, 20), "the first that holds the whole of the first square"
    assert top + side >= 70
    assert left + side >= 50


@pytest.mark.parametrize(("height", "side"), [(16, 12), (150, 32), (300, 50), (1200, 128)])
def test_the_side_is_a_sixth_within_bounds_and_inside_the_cut_border(height, side):
    image = np.zeros((height, height + 20, 3), np.uint8)
    assert most_different_region([image, image], 2)[2] == side


def squares(crop, factor):
    return crop.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize(("height", "width"), [(16, 20), (300, 60), (150, 450)])
def test_every_crop_stands_in_the_picture_enlarged_by_a_whole_factor(
    tmp_path, photo, height, width, models
):
    hr = photo[:height, :width]
    upscaled = [(f"net$ {wide}_$", cv2.blur(hr, (wide, 3))) for wide in range(1, models + 2)]
    file = tmp_path / "set/name.png"
    write_crops(file, "Set: $name_$", hr, upscaled, 2, PROTOCOLS["basicsr"])
    picture = read_rgb(file)
    top, left, side = most_different_region([image for _, image in upscaled], 2)
    for image in (hr, *(image for _, image in upscaled)):
        crop = squares(image[top : top + side, left : left + side], -(-288 // side))
        difference = cv2.matchTemplate(picture, crop, cv2.TM_SQDIFF)
        row, column = np.unravel_index(difference.argmin(), difference.shape)
        shown = picture[row : row + len(crop), column : column + len(crop)]
        assert np.array_equal(shown, crop)


def test_the_frame_stands_round_the_region(tmp_path):
    hr = np.full((240, 240, 3), (0, 0, 255), np.uint8)
    other = hr.copy()
    other[100:140, 60:100] = 0
    upscaled = [("a", hr), ("b", other)]
    write_crops(tmp_path / "a.png", "a", hr, upscaled, 2, PROTOCOLS["basicsr"])
    picture = read_rgb(tmp_path / "a.png").astype(int)
    blue = (picture == (0, 0, 255)).all(-1)
    left = blue.any(0).argmax()
    top, shown = blue[:, left].argmax(), blue[:, left].sum()  # HR is square, and leftmost
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 2] > 150)
    for found, start, expected in ((rows, top, 100), (columns, left, 60)):
        assert (found.min() - start) / shown * 240 == pytest.approx(expected, abs=1.5)
        assert (found.max() - start) / shown * 240 == pytest.approx(expected + 40, abs=1.5)
