"""Checks of image folders."""

import cv2
import numpy as np

from srnas.data.check import faults, near_duplicates, perceptual_hash
from srnas.data.images import pair_folders, read_rgb, write_rgb
from srnas.data.packaged import PACKAGED, packaged_pairs


def test_every_fault_is_listed_not_only_the_first(tmp_path, photo):
    for index in range(5):
        write_rgb(tmp_path / "HR" / f"{index}.png", photo[: 40 + index])
        write_rgb(tmp_path / "LR" / f"{index}x2.png", photo[:20, :225])
    for name in ("HR/1.png", "LR/3x2.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    told = faults(pair_folders(tmp_path / "HR", tmp_path / "LR", 2), 2)
    assert len(told) == 4
    assert "1.png: truncated" in told[0]
    assert "2x2.png: 225x20 does not fit" in told[1]
    assert "3x2.png: truncated" in told[2]
    assert "expected 225x22" in told[3]


def test_scaled_recompressed_and_cropped_copies_are_found_and_others_are_not(tmp_path):
    images = {p.name: read_rgb(p.hr) for p in packaged_pairs("train+test")}
    for name, image in images.items():
        write_rgb(tmp_path / "train" / f"{name}.png", image)
    height, width = images["coffee"].shape[:2]
    copies = {
        "half": cv2.resize(images["coffee"], (width // 2, height // 2)),
        "cropped": images["coffee"][4:-4, 6:-6],
    }
    for name, image in copies.items():
        write_rgb(tmp_path / "test" / f"{name}.png", image)
    cv2.imwrite(
        str(tmp_path / "test/poor.jpg"),
        images["chelsea"][..., ::-1],
        [cv2.IMWRITE_JPEG_QUALITY, 20],
    )
    found = {(a.stem, b.stem) for a, b in near_duplicates(tmp_path / "train", [tmp_path / "test"])}
    assert found == {("coffee", "half"), ("coffee", "cropped"), ("chelsea", "poor")}


def test_packaged_splits_hold_no_near_duplicates_of_each_other():
    hashes = [
        (split, perceptual_hash(read_rgb(pair.hr)))
        for split in PACKAGED
        for pair in packaged_pairs(split)
    ]
    for split, ours in hashes:
        for other, theirs in hashes:
            if split != other:
                assert np.sum(ours != theirs) > 6
