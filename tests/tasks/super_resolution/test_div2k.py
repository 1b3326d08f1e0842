"""DIV2K's layout from archives or folders; sub-images and LMDB as BasicSR reads them."""

import zipfile

import numpy as np
import pytest
import yaml

from srnas.data.bicubic import resize_uint8
from srnas.data.images import pair_folders, read_rgb, write_rgb
from srnas.errors import UserError
from srnas.tasks.super_resolution.div2k import SubImages, prepare
from tests.helpers import killed, needs_basicsr, search_options, srnas, write_options


@pytest.fixture
def tree(tmp_path, photo):
    """Four training and two validation photographs, unpacked, without LR images."""
    source = tmp_path / "source"
    for index in range(6):
        split, number = ("train", index + 1) if index < 4 else ("valid", 797 + index)
        crop = photo[30 * index : 30 * index + 96, 50 * index : 50 * index + 144]
        write_rgb(source / f"DIV2K_{split}_HR" / f"{number:04}.png", crop)
    return source


def pack(source, folder):
    with zipfile.ZipFile(source / f"{folder}.zip", "w") as archive:
        for file in sorted((source / folder).iterdir()):
            archive.write(file, f"{folder}/{file.name}")
            file.unlink()
    (source / folder).rmdir()


@pytest.mark.parametrize("packed", [False, True])
def test_archives_and_folders_give_the_same_tree_and_missing_lr_is_bicubic(tree, tmp_path, packed):
    hr = read_rgb(tree / "DIV2K_train_HR" / "0002.png")
    if packed:
        pack(tree, "DIV2K_train_HR")
    said, out = [], tmp_path / "DIV2K"
    prepare(tree, out, [2, 4], say=said.append)
    assert len(list((out / "DIV2K_train_HR").iterdir())) == 4
    assert np.array_equal(read_rgb(out / "DIV2K_train_HR" / "0002.png"), hr)
    for scale in (2, 4):
        lr = read_rgb(out / "DIV2K_train_LR_bicubic" / f"X{scale}" / f"0002x{scale}.png")
        assert np.array_equal(lr, resize_uint8(hr, 1 / scale))
    assert (out / "DIV2K_valid_LR_bicubic" / "X4" / "0802x4.png").is_file()
    assert any("not the official archive" in line for line in said) == packed


def test_given_lr_images_stay_and_a_broken_off_preparation_goes_on(tree, tmp_path, photo):
    given = tree / "DIV2K_train_LR_bicubic" / "X2"
    for number in range(1, 4):
        write_rgb(given / f"{number:04}x2.png", photo[:48, :72])
    out = tmp_path / "DIV2K"
    prepare(tree, out, [2], say=lambda line: None)
    lr = out / "DIV2K_train_LR_bicubic" / "X2"
    assert np.array_equal(read_rgb(lr / "0003x2.png"), photo[:48, :72])
    made = read_rgb(lr / "0004x2.png")
    (lr / "0004x2.png").unlink()
    prepare(tree, out, [2], say=lambda line: None)
    assert np.array_equal(read_rgb(lr / "0004x2.png"), made)


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_preparation_killed_at_any_moment_ends_with_the_same_files(tree, tmp_path):
    for number in ("train_HR/0003", "train_HR/0004", "valid_HR/0802"):
        (tree / f"DIV2K_{number}.png").unlink()
    pack(tree, "DIV2K_train_HR")
    prepare(tree, tmp_path / "whole", [2], say=lambda line: None)
    expected = content(tmp_path / "whole")
    assert len(expected) == 6
    moment = unfinished = 0
    while True:
        moment += 1
        out = tmp_path / f"killed{moment}"
        if not killed(moment, out, prepare, tree, out, [2]):
            break
        unfinished += any(name.endswith(".part") for name in content(out))
        prepare(tree, out, [2], say=lambda line: None)
        assert content(out) == expected, moment
    assert content(out) == expected
    assert moment > 2 * len(expected)
    assert unfinished >= len(expected) - 1, "some moments were to lie within the writing of a file"


@needs_basicsr
def test_an_lmdb_whose_writer_was_killed_is_written_anew(tree, tmp_path):
    for out in (tmp_path / "whole", tmp_path / "out"):
        prepare(tree, out, [2], say=lambda line: None)
    moment = 0
    while not (out / ".DIV2K_train_HR.part.lmdb").exists():
        moment += 1
        assert killed(moment, out, prepare, tree, out, [2], None, True)
    for folder in (tmp_path / "whole", out):
        prepare(tree, folder, [2], lmdb=True, say=lambda line: None)
    assert content(out) == content(tmp_path / "whole")


@needs_basicsr
def test_basicsrs_lmdb_reads_back_identical_pixels_at_the_same_places(tree, tmp_path):
    from srnas.basicsr_bridge import basicsr

    out = tmp_path / "DIV2K"
    prepare(tree, out, [2], SubImages(64, 32), lmdb=True, say=lambda line: None)
    folders = out / "DIV2K_train_HR_sub", out / "DIV2K_train_LR_bicubic" / "X2_sub"
    names = [{file.name for file in folder.iterdir()} for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) == 4 * 2 * 4, "rows at 0, 32; columns at 0, 32, 64, 80"
    whole = read_rgb(out / "DIV2K_train_HR" / "0003.png")
    assert np.array_equal(read_rgb(folders[0] / "0003_s004.png"), whole[:64, 80:])
    opened = basicsr("data.paired_image_dataset").PairedImageDataset(
        {
            "dataroot_gt": f"{folders[0]}.lmdb",
            "dataroot_lq": f"{folders[1]}.lmdb",
            "io_backend": {"type": "lmdb"},
            "phase": "val",
            "scale": 2,
        }
    )
    assert len(opened) == 32
    for item in opened:
        for key, folder in (("gt", folders[0]), ("lq", folders[1])):
            pixels = (item[key] * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(pixels, read_rgb(folder / f"{item['gt_path']}.png"))


@needs_basicsr
def test_a_prepared_tree_is_checked_searched_and_its_lmdb_trained_on(tree, tmp_path):
    out = tmp_path / "DIV2K"
    prepared = srnas(
        *("data", "prepare", "div2k", tree, "--out", out, "--scale", "2"),
        *("--sub-images", "--crop", "64", "--step", "32", "--lmdb"),
    )
    assert prepared.returncode == 0, prepared.stderr
    hr, lr = out / "DIV2K_train_HR", out / "DIV2K_train_LR_bicubic" / "X2"
    assert srnas("data", "check", hr, "--lr", lr, "--scale", "2").returncode == 0
    lmdb = {
        "type": "PairedImageDataset",
        "dataroot_gt": f"{hr}_sub.lmdb",
        "dataroot_lq": f"{lr}_sub.lmdb",
        "io_backend": {"type": "lmdb"},
    }
    data = {
        "train": {"basicsr": lmdb},
        "alpha": {"hr": str(out / "DIV2K_valid_HR"), "images": "1-1"},
        "val": {"hr": str(out / "DIV2K_valid_HR"), "images": "2-2"},
        "batch_size": 2,
        "hr_patch": 32,
        "cache": str(tmp_path / "cache"),
        "keep": "mmap",
        "workers": 1,
    }
    options = search_options(tmp_path, hr, data=data, epochs=2)
    done = srnas("search", "-opt", write_options(tmp_path / "o.yml", options))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "experiments" / "search" / "genotype.json").is_file()
    resolved = yaml.safe_load((tmp_path / "experiments" / "search" / "options.yml").read_text())
    assert resolved["data"]["train"]["basicsr"] == lmdb


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tree: (tree / "DIV2K_train_HR").rename(tree / "hr"), "neither DIV2K_train_HR.zip"),
        (
            lambda tree: (tree / "DIV2K_valid_HR.zip").write_bytes(b"PK\x03\x04 cut short"),
            r"DIV2K_valid_HR\.zip: broken or truncated",
        ),
    ],
)
def test_a_missing_or_broken_source_is_told(tree, tmp_path, change, told):
    change(tree)
    with pytest.raises(UserError, match=told):
        prepare(tree, tmp_path / "out", [2], say=lambda line: None)


@pytest.mark.parametrize("name", ["a\nb.png", "a\\b.png", "PRN.png"])
def test_a_file_of_the_source_that_cannot_be_named_so_is_told(tree, tmp_path, name):
    hr = tree / "DIV2K_train_HR"
    (hr / "0001.png").rename(hr / name)
    with pytest.raises(UserError, match=r"DIV2K_train_HR: .*cannot name a file"):
        prepare(tree, tmp_path / "out", [2], say=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_are_told(tree, tmp_path):
    hr = tree / "DIV2K_train_HR"
    (hr / "0001.PNG").write_bytes((hr / "0002.png").read_bytes())
    with pytest.raises(UserError, match=r"0001\.PNG and .*0001\.png: two images of the same name"):
        prepare(tree, tmp_path / "out", [2], say=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_two_sources_are_not_merged(tree, tmp_path):
    out = tmp_path / "out"
    prepare(tree, out, [2], say=lambda line: None)
    before = content(out)
    other = tree / "DIV2K_train_HR" / "0002.png"
    image = read_rgb(other)
    other.unlink()  # its hard link stays
    write_rgb(other, image[::-1])
    with pytest.raises(UserError, match=r"out/.*0002\.png and .*source/.*0002\.png differ; delete"):
        prepare(tree, out, [2], say=lambda line: None)
    pack(tree, "DIV2K_train_HR")
    with pytest.raises(UserError, match=r"0002\.png and .*0002\.png in .*HR\.zip differ; delete"):
        prepare(tree, out, [2], say=lambda line: None)
    assert content(out) == before


def test_given_lr_images_of_another_suffix_are_not_made_again(tree, tmp_path, photo):
    given = tree / "DIV2K_train_LR_bicubic" / "X2" / "0001x2.PNG"
    write_rgb(given, photo[:48, :72])
    out = tmp_path / "out"
    prepare(tree, out, [2], say=lambda line: None)
    lr = out / "DIV2K_train_LR_bicubic" / "X2"
    names = ["0001x2.PNG", "0002x2.png", "0003x2.png", "0004x2.png"]
    assert sorted(file.name for file in lr.iterdir()) == names
    pairs = pair_folders(out / "DIV2K_train_HR", lr, 2)
    assert np.array_equal(pairs[0].load(2)[0], photo[:48, :72])


def test_a_target_that_cannot_be_written_is_told(tree, tmp_path):
    (tmp_path / "file").write_text("")
    for packed in (False, True):
        if packed:
            pack(tree, "DIV2K_train_HR")
        done = srnas("data", "prepare", "div2k", tree, "--out", tmp_path / "file" / "out")
        assert done.returncode == 2
        told = f"error: {tmp_path}/file/out/DIV2K_train_HR/"
        assert done.stderr.startswith(told), done.stderr
        assert done.stderr.endswith(".png: cannot be written (Not a directory)\n")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (SubImages(50, 25), "must be multiples of 4"),
        (SubImages(128, 64), r"144x96 is smaller than sub-images of 128"),
    ],
)
def test_sub_images_that_do_not_fit_are_told(tree, tmp_path, how, told):
    with pytest.raises(UserError, match=told):
        prepare(tree, tmp_path / "out", [2, 4], how, say=lambda line: None)


def test_sub_images_of_two_sizes_are_not_mixed(tree, tmp_path):
    out = tmp_path / "out"
    prepare(tree, out, [2], SubImages(64, 32), say=lambda line: None)
    with pytest.raises(UserError, match="delete them first"):
        prepare(tree, out, [2], SubImages(32, 32), say=lambda line: None)
