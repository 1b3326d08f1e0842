"""Models on sets, one beside the other."""

import cv2
import numpy as np
import pytest
import torch

from srnas.benchmarks import benchmark as engine
from srnas.data.images import read_rgb, write_rgb
from srnas.errors import UserError
from srnas.model_file import Model, save_model
from srnas.options import check_options
from srnas.spaces import check_space, derived_network, published_genotype


def tiny_model(path, seed, scale=2):
    torch.manual_seed(seed)
    options = {"name": "imdn", "scale": scale, "num_feat": 8, "num_block": 1}
    space, genotype = check_space(options, "test"), published_genotype("imdn")
    save_model(path, Model(derived_network(space, genotype), space, genotype, {}))
    return path


def run(model, folder, **changes):
    options = {"model": model, "scale": 2, "data": {"S": folder}, "device": "cpu", **changes}
    return engine.test(check_options("test", options, "test"))


def test_each_model_gives_beside_others_what_it_gives_alone(tmp_path, photo_folder):
    files = [tiny_model(tmp_path / f"{seed}.safetensors", seed) for seed in range(3)]
    for changes in ({}, {"self_ensemble": True}, {"explain": True, "protocol": "edsr"}):
        alone = [run(file, photo_folder, **changes) for file in files]
        together = run(files[0], photo_folder, beside=files[1:], **changes)
        beside = together.pop("beside")
        assert together == alone[0]
        for file, one, expected in zip(files[1:], beside, alone[1:], strict=True):
            keys = ("params", "genotype", "results")
            assert one == {"model": str(file), **{key: expected[key] for key in keys}}


def test_the_smallest_images_have_their_pictures_and_sr_files(tmp_path, photo):
    write_rgb(tmp_path / "set/small.png", photo[:16, :17])
    files = [tiny_model(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    folders = {"crops": tmp_path / "crops", "save_images": tmp_path / "sr"}
    run(files[0], tmp_path / "set", beside=files[1:], **folders, self_ensemble=True, explain=True)
    sr = read_rgb(tmp_path / "sr/S/small.png")
    assert sr.shape == (16, 16, 3)
    region = sr[2:-2, 2:-2].repeat(24, 0).repeat(24, 1)  # all that the protocol leaves, 288 pixels
    picture = read_rgb(tmp_path / "crops/S/small.png")
    difference = cv2.matchTemplate(picture, region, cv2.TM_SQDIFF)
    row, column = np.unravel_index(difference.argmin(), difference.shape)
    assert np.array_equal(picture[row : row + 288, column : column + 288], region)


def test_a_model_is_called_by_its_run_or_by_its_file(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    files = ["runs/wide/model.safetensors", "runs/best.safetensors", "model.safetensors"]
    for main in ({"model": "a/b.safetensors"}, {"weights": "a/b.x2.pth", "space": "imdn"}):
        content = {**main, "beside": files, "scale": 2, "data": {"S": "packaged"}}
        names = engine.model_names(check_options("test", content, "test"))
        assert names == ["b" if "model" in main else "b.x2", "wide", "best", "here"]


def test_a_model_of_another_scale_is_told_by_its_file(tmp_path, photo_folder):
    files = [tiny_model(tmp_path / f"x{scale}.safetensors", 0, scale) for scale in (2, 3)]
    with pytest.raises(UserError, match=r"x3\.safetensors: .* x3, but scale is 2"):
        run(files[0], photo_folder, beside=files[1:])
    with pytest.raises(UserError, match=r"x3\.safetensors: .* x3, but scale is 2"):
        run(files[1], photo_folder)


NAMES = ["../../evil", "/evil", "a/b", "..", ".", "", "a\\b", "a\nb", "CON", "x" * 256]


@pytest.mark.parametrize("where", ["save_images", "crops"])
@pytest.mark.parametrize("name", NAMES)
def test_a_set_whose_name_leads_out_of_the_folder_is_told_before_anything(
    tmp_path, photo_folder, name, where
):
    model = tiny_model(tmp_path / "m.safetensors", 0)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"^test: data: .*cannot name a file"):
        run(model, photo_folder, data={name: photo_folder}, **{where: tmp_path / "a/b/out"})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_set_has_any_name_if_no_files_are_named_after_it(tmp_path, photo_folder):
    model = tiny_model(tmp_path / "m.safetensors", 0)
    result = run(model, photo_folder, data={"valid/x 2": photo_folder})
    assert result["results"][0]["dataset"] == "valid/x 2"


def test_images_that_would_be_saved_as_the_same_file_are_told(tmp_path, photo):
    model = tiny_model(tmp_path / "m.safetensors", 0)
    for name in ("a.png", "a.bmp"):
        cv2.imwrite(str(tmp_path / name), photo[:32, :32])
    assert len(run(model, tmp_path)["results"][0]["images"]) == 2
    with pytest.raises(UserError, match=r"a\.bmp and .*a\.png: two images of the same name"):
        run(model, tmp_path, save_images=tmp_path / "out")
    (tmp_path / "a.bmp").rename(tmp_path / "b\n.bmp")
    with pytest.raises(UserError, match=r"cannot name a file \(it has a control character"):
        run(model, tmp_path, crops=tmp_path / "out")
    assert not (tmp_path / "out").exists()
