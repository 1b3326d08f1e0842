"""Decoded pixels: the images' own bytes, wherever they live; decoded once with a cache."""

import numpy as np
import pytest
import torch

from srnas.data import pixels
from srnas.data.images import pair_folders, write_rgb
from srnas.data.patches import PatchSampler
from srnas.data.pixels import load_pixels
from srnas.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def pairs(tmp_path, photo):
    folder = tmp_path / "photos"
    for index, (height, width) in enumerate([(40, 50), (33, 61), (64, 32)]):
        write_rgb(folder / f"{index}.png", photo[:height, :width])
    return pair_folders(folder, None, 2)


def images(level):
    ends = level.sizes.prod(1).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    return [
        level.values[start:end].view(*size, 3).numpy()
        for start, end, size in zip(starts, ends, level.sizes.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("keep", "cached"),
    [("device", False), ("memory", False), ("device", True), ("memory", True), ("mmap", True)],
)
def test_they_are_what_the_pairs_load(pairs, tmp_path, keep, cached):
    cache = tmp_path / "cache" if cached else None
    for _ in range(2):
        levels = load_pixels(pairs, 2, CPU, keep, cache)
        for level, expected in zip(
            levels, zip(*(pair.load(2) for pair in pairs), strict=True), strict=True
        ):
            assert all(np.array_equal(a, b) for a, b in zip(images(level), expected, strict=True))


def test_a_cache_decodes_once_and_anew_when_a_file_changed(pairs, tmp_path, photo, monkeypatch):
    decoded = []
    real = pixels._decoded

    def counted(given, scale):
        decoded.append(len(given))
        return real(given, scale)

    monkeypatch.setattr(pixels, "_decoded", counted)
    for _ in range(3):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    assert decoded == [3]
    write_rgb(pairs[1].hr, photo[100:140, 100:130])
    _, hr = load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    assert decoded == [3, 3]
    assert np.array_equal(images(hr)[1], photo[100:140, 100:130])


def test_a_broken_image_leaves_no_cache_and_a_cut_cache_is_told(pairs, tmp_path):
    whole = pairs[2].hr.read_bytes()
    pairs[2].hr.write_bytes(whole[:200])
    with pytest.raises(UserError, match=r"2\.png: truncated"):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    pairs[2].hr.write_bytes(whole)
    load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.hr")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"\.hr: not the \d+ bytes .* delete both"):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")


def test_patches_are_the_same_wherever_the_pixels_live(pairs, tmp_path):
    def batch(**where):
        return next(PatchSampler(pairs, 2, 32, 8, seed=0, device=CPU, **where))

    for where in ({"keep": "memory"}, {"keep": "mmap", "cache": tmp_path / "cache"}):
        assert all(torch.equal(a, b) for a, b in zip(batch(), batch(**where), strict=True))


def test_a_memory_map_needs_a_cache(pairs):
    with pytest.raises(UserError, match=r"mmap needs data\.cache"):
        load_pixels(pairs, 2, CPU, "mmap")
