"""Drawn fine lines: the frequencies that they are to have, at their angles."""

import numpy as np
import pytest

from srnas.data.images import read_rgb
from srnas.data.structures import ANGLES, PERIODS, SIDE, fine_structures, write_structures


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("angle", ANGLES)
def test_the_spectrum_peaks_at_the_period_and_the_angle(period, angle):
    image = fine_structures()[f"{period}px_{angle}deg"][:24, :, 1].astype(float)  # its upper part
    spectrum = np.abs(np.fft.rfft2(image - image.mean(), s=(512, 512)))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    down = np.fft.fftfreq(512)[row]
    found = np.hypot(column / 512, down)
    assert found == pytest.approx(1 / period, rel=0.1)
    assert np.rad2deg(np.arctan2(down, column / 512)) == pytest.approx(angle, abs=8)


def test_the_files_are_the_images_and_stay(tmp_path):
    folder = write_structures(tmp_path / "lines")
    images = fine_structures()
    assert len(images) == len(PERIODS) * len(ANGLES)
    for name, image in images.items():
        assert image.shape == (SIDE, SIDE, 3)
        assert np.array_equal(read_rgb(folder / f"{name}.png"), image)
    written = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    write_structures(folder)
    assert written == {file: file.stat().st_mtime_ns for file in folder.iterdir()}
