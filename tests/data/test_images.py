"""Reading images: every fault names its file."""

import cv2
import numpy as np
import pytest

from srnas.data.images import (
    SUFFIXES,
    benchmark_pairs,
    check_disjoint,
    pair_folders,
    read_rgb,
    select,
    write_rgb,
)
from srnas.data.packaged import PACKAGED, packaged_pairs
from srnas.errors import UserError


def test_lossless_formats_read_back_the_same_pixels(tmp_path, photo):
    for suffix in (".png", ".bmp", ".tiff", ".ppm"):
        cv2.imwrite(str(tmp_path / f"x{suffix}"), photo[..., ::-1])
        assert np.array_equal(read_rgb(tmp_path / f"x{suffix}"), photo)
        assert suffix in SUFFIXES


def test_gray_16_bit_and_transparent_images_become_rgb_bytes(tmp_path, photo):
    gray = photo[..., 0]
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    assert np.array_equal(read_rgb(tmp_path / "gray.png"), np.stack([gray] * 3, -1))
    cv2.imwrite(str(tmp_path / "deep.png"), photo[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read_rgb(tmp_path / "deep.png"), photo)
    opaque = np.concatenate([photo[..., ::-1], np.full_like(photo[..., :1], 9)], -1)
    cv2.imwrite(str(tmp_path / "alpha.png"), opaque)
    assert np.array_equal(read_rgb(tmp_path / "alpha.png"), photo)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_truncated_image_is_refused_by_name(tmp_path, photo, suffix, share):
    cv2.imwrite(str(tmp_path / f"whole{suffix}"), photo)
    data = (tmp_path / f"whole{suffix}").read_bytes()
    read_rgb(tmp_path / f"whole{suffix}")
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"cut\{suffix}: truncated"):
        read_rgb(cut)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_image_is_refused_by_name(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png: "):
        read_rgb(tmp_path / "x.png")


def test_missing_and_empty_folders_are_told(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        pair_folders(tmp_path / "nowhere", None, 2)
    with pytest.raises(UserError, match="holds no images"):
        pair_folders(tmp_path, None, 2)


@pytest.mark.parametrize("pattern", ["{}x2.png", "{}.png"])
def test_lr_files_are_found_by_either_name(tmp_path, photo, pattern):
    write_rgb(tmp_path / "HR" / "a.png", photo[:40, :60])
    write_rgb(tmp_path / "LR_bicubic" / "X2" / pattern.format("a"), photo[:20, :30])
    (pair,) = benchmark_pairs(tmp_path, 2)
    lr, hr = pair.load(2)
    assert np.array_equal(lr, photo[:20, :30])
    assert np.array_equal(hr, photo[:40, :60])
    assert benchmark_pairs(tmp_path, 2, use_lr_files=False)[0].lr is None
    assert benchmark_pairs(tmp_path, 3)[0].lr is None


def test_an_hr_image_without_lr_is_named(tmp_path, photo):
    write_rgb(tmp_path / "HR" / "a.png", photo)
    write_rgb(tmp_path / "LR" / "b.png", photo)
    with pytest.raises(UserError, match=r"no LR image for a\.png; expected ax3\.png"):
        pair_folders(tmp_path / "HR", tmp_path / "LR", 3)


def test_sizes_that_do_not_fit_are_told_with_both_files(tmp_path, photo):
    write_rgb(tmp_path / "HR" / "a.png", photo[:41, :61])
    write_rgb(tmp_path / "LR" / "ax2.png", photo[:20, :31])
    (pair,) = pair_folders(tmp_path / "HR", tmp_path / "LR", 2)
    with pytest.raises(UserError, match=r"ax2\.png: 31x20 .*a\.png.*expected 30x20"):
        pair.load(2)


def test_hr_is_cropped_to_the_scale(tmp_path, photo):
    write_rgb(tmp_path / "a.png", photo[:41, :62])
    lr, hr = pair_folders(tmp_path, None, 3)[0].load(3)
    assert lr.shape == (13, 20, 3)
    assert np.array_equal(hr, photo[:39, :60])


@pytest.mark.parametrize("images", ["0-2", "2-1", "1-4", "x", "1", "-3"])
def test_a_wrong_range_is_told(images):
    with pytest.raises(UserError, match=r"here: images"):
        select([None] * 3, images, "here")


def test_a_range_counts_from_one_and_includes_its_end():
    assert select(list("abcde"), "2-4", "here") == list("bcd")


def test_packaged_photographs_serve_one_purpose_each():
    names = [name for split in PACKAGED.values() for name in split]
    assert len(names) == len(set(names))
    assert [p.hr.name for p in packaged_pairs("train+alpha")] == [
        *PACKAGED["train"], *PACKAGED["alpha"]
    ]  # fmt: skip
    for split in PACKAGED:
        for pair in packaged_pairs(split):
            assert min(read_rgb(pair.hr).shape[:2]) >= 300
    with pytest.raises(UserError, match="did you mean 'test'"):
        packaged_pairs("tests")


def test_one_image_in_two_splits_is_told(photo_folder):
    pairs = pair_folders(photo_folder, None, 2)
    with pytest.raises(UserError, match=r"2\.png is in both train and val"):
        check_disjoint({"train": pairs[:3], "val": pairs[2:]})
