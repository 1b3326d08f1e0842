"""The images of a run: several folders, ranges over them, and their terms."""

import pytest

from srnas.data.images import write_rgb
from srnas.data.options import ImagesOptions
from srnas.data.terms import UNKNOWN_TERMS
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.export.write import export
from srnas.model_file import load_model
from srnas.options import check_options
from srnas.report.card import write_card
from srnas.tasks.super_resolution.images import Split, open_images
from tests.helpers import told, train_options


@pytest.fixture
def folders(tmp_path, photo):
    """Folders b (2 images) and a (3), with LR images beside them, and c (1) with LR alone."""
    for folder, count in (("b", 2), ("a", 3), ("c", 1)):
        for index in range(count):
            image = photo[20 * index : 20 * index + 64, :96]
            write_rgb(tmp_path / folder / f"{index}.png", image)
            write_rgb(tmp_path / f"{folder}_x2" / f"{index}x2.png", image[::2, ::2])
    return tmp_path


def opened(**options):
    return open_images("data.train", 2, ImagesOptions.model_validate(options))


def names(images):
    return [f"{image.file.parent.name}/{image.name}" for image in images]


def test_folders_follow_one_another_each_by_name_and_a_range_counts_over_all(folders):
    hr = [folders / "b", folders / "a"]
    assert names(opened(hr=hr)) == ["b/0", "b/1", "a/0", "a/1", "a/2"]
    assert names(opened(hr=hr, images="2-4")) == ["b/1", "a/0", "a/1"]
    assert names(opened(hr=[hr[1]])) == names(opened(hr=hr[1])) == ["a/0", "a/1", "a/2"]
    with pytest.raises(UserError, match=r"images: 3-6 is outside 1-5"):
        opened(hr=hr, images="3-6")


def test_each_folder_has_its_lr_images(folders):
    pairs = opened(hr=[folders / "b", folders / "a"], lr=[folders / "b_x2", folders / "a_x2"])
    assert [pair.lr.parent.name for pair in pairs] == ["b_x2"] * 2 + ["a_x2"] * 3


def test_lr_images_without_hr_come_last_and_are_not_in_the_range(folders):
    images = opened(hr=folders / "a", images="1-1", lr_only=[folders / "c_x2", folders / "b_x2"])
    assert names(images) == ["a/0", "c_x2/0x2", "b_x2/0x2", "b_x2/1x2"]
    assert names(opened(lr_only=folders / "c_x2")) == ["c_x2/0x2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"hr": ["a", "b"], "lr": "x"}, "lr: needs a folder for each folder of hr:"),
        ({"hr": []}, "hr: names no folder"),
        ({"lr": "x"}, "give one of hr: FOLDER"),
        ({"lr_only": "x", "images": "1-2"}, "LR images without HR images are lr_only:"),
        ({"lr_only": "x", "packaged": "train"}, "give one of hr: FOLDER"),
    ],
)
def test_sources_that_do_not_fit_are_told(tmp_path, data, message):
    options = train_options(tmp_path, tmp_path)
    options["data"]["train"] = data
    assert message in told(check_options, "train", options, "t")


def test_the_terms_of_a_folder_are_in_its_licence_file_or_its_name(folders):
    cc0 = "Creative Commons Legal Code\n\nCC0 1.0 Universal\n\n    CREATIVE COMMONS\n"
    (folders / "b" / "LICENSE.txt").write_text(cc0)
    long = "This work is licensed under the Creative Commons Attribution-ShareAlike 4.0 License."
    (folders / "a" / "copying").write_text(f"{long}\nTo view a copy\n")
    (folders / "c").rename(folders / "BSD300")
    images = opened(hr=[folders / name for name in ("b", "a", "BSD300")], lr_only=folders / "c_x2")
    options = ImagesOptions(hr=folders / "b")
    assert Split(options, images).sources == [
        {"folder": "b", "images": 2, "terms": "Creative Commons Legal Code CC0 1.0 Universal"},
        {"folder": "a", "images": 3, "terms": long[:-1]},
        {
            "folder": "BSD300",
            "images": 1,
            "terms": "BSDS500 is provided for non-commercial research and educational purposes",
        },
        {"folder": "c_x2", "images": 1, "terms": UNKNOWN_TERMS},
    ]


def test_a_model_card_counts_the_images_of_each_folder_with_their_terms(folders):
    (folders / "b" / "LICENSE").write_text("Mine alone\n")
    options = train_options(folders, folders / "a", steps=1)
    options["data"] |= {
        "train": {"hr": [str(folders / "b"), str(folders / "a")], "images": "1-4"},
        "val": {"hr": str(folders / "a"), "images": "3-3"},
    }
    model = load_model(train(check_options("train", options, "t")))
    card = write_card(model, export(model, folders / "m.pt2")).read_text()
    assert "| images from | number | terms |" in card
    assert "| b | 2 | Mine alone |" in card
    assert f"| a | 2 | {UNKNOWN_TERMS} |" in card
