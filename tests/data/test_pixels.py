"""Decoded pixels: the images' own bytes, wherever they live; decoded once with a cache."""

import json
import shutil
import time

import numpy as np
import pytest
import torch

from srnas.data import pixels
from srnas.data.images import pair_folders, write_rgb
from srnas.data.patches import PatchSampler
from srnas.data.pixels import load_pixels
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.files import atomic_file
from tests.helpers import killed, together

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


def test_a_broken_image_leaves_no_cache(pairs, tmp_path):
    whole = pairs[2].hr.read_bytes()
    pairs[2].hr.write_bytes(whole[:200])
    with pytest.raises(UserError, match=r"2\.png: truncated"):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def are_right(levels, pairs):
    for level, expected in zip(
        levels, zip(*(pair.load(2) for pair in pairs), strict=True), strict=True
    ):
        assert all(np.array_equal(a, b) for a, b in zip(images(level), expected, strict=True))
    return True


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def emptied(file):
    file.write_bytes(b"")


def grown(file):
    file.write_bytes(file.read_bytes() + b"x")


def flipped(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def removed(file):
    file.unlink()


def a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("keep", ["device", "memory", "mmap"])
@pytest.mark.parametrize("level", ["lr", "hr"])
@pytest.mark.parametrize("damage", [zeroed, cut, emptied, grown, flipped, removed])
def test_damaged_pixels_are_told_and_decoded_anew(pairs, tmp_path, capsys, keep, level, damage):
    cache = tmp_path / "cache"
    load_pixels(pairs, 2, CPU, cache=cache)
    before = {file.name: file.read_bytes() for file in cache.iterdir()}
    (file,) = cache.glob(f"*.{level}")
    damage(file)
    assert are_right(load_pixels(pairs, 2, CPU, keep, cache), pairs)
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {file}: ")
    assert told.endswith("; the images are decoded again\n")
    assert told.count("\n") == 1
    assert before == {file.name: file.read_bytes() for file in cache.iterdir()}
    load_pixels(pairs, 2, CPU, keep, cache)
    assert capsys.readouterr().err == ""


def wrong(**change):
    def damage(file):
        index = {**json.loads(file.read_text()), **change}
        file.write_text(json.dumps({k: v for k, v in index.items() if v is not None}))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        emptied,
        lambda file: file.write_text(file.read_text()[:-20]),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("null"),
        lambda file: file.write_text("[1, 2]"),
        lambda file: file.write_text("{}"),
        wrong(crc32=None),  # as of version 0.1
        wrong(crc32=[0, 0]),
        wrong(sizes=[[[1, 1]], [[2, 2]]]),
        wrong(sizes=[[[10**30, 10**30]], [[2, 2]]]),
        wrong(sizes=[[[-20, -25]], [[2, 2]]]),
        wrong(sizes="many"),
        wrong(sizes=7),
        wrong(layout=2),
    ],
)
def test_a_broken_index_is_told_and_written_anew(pairs, tmp_path, capsys, damage):
    cache = tmp_path / "cache"
    load_pixels(pairs, 2, CPU, cache=cache)
    (index,) = cache.glob("*.json")
    before = index.read_bytes()
    damage(index)
    assert are_right(load_pixels(pairs, 2, CPU, "mmap", cache), pairs)
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {cache}")
    assert told.count("\n") == 1
    assert index.read_bytes() == before


def test_what_stands_in_the_way_of_a_cache_is_told(pairs, tmp_path):
    load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.hr")
    a_folder(file)
    with pytest.raises(UserError, match=r"\.hr: cannot be written \(Is a directory"):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory"):
        load_pixels(pairs, 2, CPU, cache=tmp_path / "file" / "cache")


def test_the_files_of_a_cache_have_the_modes_of_other_files(pairs, tmp_path):
    load_pixels(pairs, 2, CPU, cache=tmp_path / "cache")
    (tmp_path / "other").write_text("")
    modes = {file.stat().st_mode for file in (tmp_path / "cache").iterdir()}
    assert modes == {(tmp_path / "other").stat().st_mode}


def test_after_a_kill_at_any_moment_the_next_writer_cleans_up(pairs, tmp_path, capsys):
    load_pixels(pairs, 2, CPU, cache=tmp_path / "whole")
    whole = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    moment = left = 0
    while killed(
        moment := moment + 1, tmp_path, load_pixels, pairs, 2, CPU, "mmap", tmp_path / "c"
    ):
        left += len(list((tmp_path / "c").glob(".*.part"))) if moment > 1 else 0
        assert are_right(load_pixels(pairs, 2, CPU, "mmap", tmp_path / "c"), pairs)
        assert whole == {file.name: file.read_bytes() for file in (tmp_path / "c").iterdir()}
        shutil.rmtree(tmp_path / "c")
    assert moment == 10, "for each file, its folder is made, it is opened, and renamed"
    assert left >= 5
    assert capsys.readouterr().err == ""


def write_slowly(file, started, go_on):
    with atomic_file(file) as opened:
        opened.write(b"unfinished")
        opened.flush()
        started.touch()
        while not go_on.exists():
            time.sleep(0.01)


def load_meanwhile(pairs, cache, started, go_on):
    while not started.exists():
        time.sleep(0.01)
    (unfinished,) = cache.glob(".*.part")
    load_pixels(pairs, 2, CPU, "mmap", cache)
    assert unfinished.read_bytes() == b"unfinished"
    go_on.touch()


def test_files_that_another_process_is_writing_are_kept(pairs, tmp_path):
    cache, started, go_on = (tmp_path / name for name in ("cache", "started", "go_on"))
    together(
        (write_slowly, cache / "other.hr", started, go_on),
        (load_meanwhile, pairs, cache, started, go_on),
    )
    assert (cache / "other.hr").read_bytes() == b"unfinished"
    assert list(cache.glob(".*")) == []


def load_rightly(pairs, cache):
    for _ in range(10):
        assert are_right(load_pixels(pairs, 2, CPU, "mmap", cache), pairs)
        for file in cache.glob("*.json"):  # so that the next one writes all files again
            file.unlink(missing_ok=True)


def test_processes_that_write_one_cache_do_not_break_each_other(pairs, tmp_path):
    cache = tmp_path / "cache"
    mapped = load_pixels(pairs, 2, CPU, "mmap", cache)
    together((load_rightly, pairs, cache), (load_rightly, pairs, cache))
    assert are_right(mapped, pairs)
    assert list(cache.glob(".*")) == []


def test_patches_are_the_same_wherever_the_pixels_live(pairs, tmp_path):
    def batch(**where):
        return next(PatchSampler(pairs, 2, 32, 8, seed=0, process=Process(CPU), **where))

    for where in ({"keep": "memory"}, {"keep": "mmap", "cache": tmp_path / "cache"}):
        assert all(torch.equal(a, b) for a, b in zip(batch(), batch(**where), strict=True))


def test_a_memory_map_needs_a_cache(pairs):
    with pytest.raises(UserError, match=r"mmap needs data\.cache"):
        load_pixels(pairs, 2, CPU, "mmap")
