"""The picture of a landscape: directions as named, the network in its middle."""

import warnings

import cv2
import numpy as np
import pytest

from srnas.analysis.landscape import draw_landscape

T = np.linspace(-1, 1, 11)


def picture(loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        data = draw_landscape(T, loss, "alphas")
    return cv2.imdecode(np.frombuffer(data, np.uint8), 1).astype(int)


def frame(image):
    """(top, bottom, left, right) of the coloured square, without the colour bar beside it."""
    coloured = np.ptp(image, axis=2) > 30
    columns = np.flatnonzero(coloured.mean(0) > 0.5)
    right = columns[np.flatnonzero(np.diff(columns, append=9999) > 1)[0]]
    rows = np.flatnonzero(coloured[:, columns[0] : right].mean(1) > 0.8)
    return rows[0], rows[-1], columns[0], right


@pytest.mark.parametrize("steep", [False, True], ids=["linear", "logarithmic"])
def test_the_first_direction_goes_to_the_right_and_the_second_up(steep):
    rise = np.exp(6 * T) if steep else 2 + T
    flat = np.ones(11)
    for loss, brighter in ((np.outer(rise, flat), "right"), (np.outer(flat, rise), "top")):
        image = picture(loss)
        top, bottom, left, right = frame(image)
        green = image[top:bottom, left:right, 1]  # grows from dark violet to yellow
        ends = {
            "left": green[:, :20],
            "right": green[:, -20:],
            "top": green[:20],
            "bottom": green[-20:],
        }
        assert max(ends, key=lambda side: ends[side].mean()) == brighter
        low, high = (pick(end.mean() for end in ends.values()) for pick in (min, max))
        height, width = (length // 2 for length in green.shape)
        middle = np.median(green[height - 30 : height + 30, width - 30 : width + 30])
        assert 0.2 < (middle - low) / (high - low) < 0.8, "the scale fits the rise"


def test_the_network_is_marked_in_the_middle():
    image = picture(1 + T[:, None] ** 2 + T**2)
    top, bottom, left, right = frame(image)
    red = (image[..., 2] > 200) & (image[..., 1] < 60) & (image[..., 0] < 60)
    rows, columns = np.nonzero(red)
    assert rows.mean() == pytest.approx((top + bottom) / 2, abs=2)
    assert columns.mean() == pytest.approx((left + right) / 2, abs=2)


def test_a_flat_landscape_and_one_that_is_not_finite_are_drawn():
    picture(np.ones((11, 11)))
    loss = np.ones((11, 11)) + T
    loss[0, 0], loss[10, 10] = np.nan, np.inf
    picture(loss)
