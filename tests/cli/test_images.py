"""The images of users on the command line: kept whole, or refused in one line."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from srnas.data.bicubic import resize_uint8
from srnas.data.headers import LIMIT
from srnas.data.images import read_rgb
from srnas.model_file import load_model
from srnas.tasks.super_resolution.evaluate import NetworkUpscale
from tests.cli.test_commands import refused
from tests.helpers import small_model, srnas, write_options


@pytest.fixture
def model(tmp_path):
    return small_model(tmp_path / "model.safetensors")


@pytest.fixture
def enlarged(model, photo):
    """A crop of a photograph, and what the model makes of it."""
    small = np.ascontiguousarray(photo[100:130, 150:190])
    upscale = NetworkUpscale(load_model(model).network, torch.device("cpu"))
    return small, upscale(small)


def test_upscale_turns_drops_and_keeps_what_it_should(tmp_path, model, enlarged):
    small, expected = enlarged
    alpha = np.linspace(0, 255, 30 * 40).astype(np.uint8).reshape(30, 40)
    exif = Image.Exif()
    exif[274] = 6
    turned = np.ascontiguousarray(small.swapaxes(0, 1)[::-1])
    files = [tmp_path / name for name in ("rgb.png", "deep.png", "opaque.png", "turned.png")]
    cv2.imwrite(str(files[0]), small[..., ::-1])
    cv2.imwrite(str(files[1]), small[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(np.dstack([small, np.full_like(alpha, 255)])).save(files[2])
    Image.fromarray(turned).save(files[3], exif=exif)
    Image.fromarray(np.dstack([small, alpha])).save(tmp_path / "clear.png")
    out = tmp_path / "out"
    done = srnas(
        "upscale", "--model", model, *files, tmp_path / "clear.png", "--out", out,
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for file in files:
        written = np.asarray(Image.open(out / f"{file.stem}_x2.png"))
        assert np.array_equal(written, expected), file.name
    written = np.asarray(Image.open(out / "clear_x2.png"))
    assert np.array_equal(written[..., :3], expected)
    assert np.array_equal(written[..., 3:], resize_uint8(alpha[..., None], 2))


def test_upscale_refuses_an_image_before_it_enlarges_another(tmp_path, model, photo):
    first, movie = tmp_path / "first.png", tmp_path / "movie.gif"
    Image.fromarray(photo[:30, :40]).save(first)
    Image.fromarray(photo[:30, :40]).save(
        movie, save_all=True, append_images=[Image.fromarray(photo[30:60, :40])]
    )
    command = ("upscale", "--model", model, first, movie, "--out", tmp_path / "out")
    assert refused(srnas(*command), "movie.gif: holds 2 frames")
    told = f"first.png: 40x30 is more than 1199 pixels; if it is meant to be so large, set {LIMIT}"
    assert refused(srnas(*command, **{LIMIT: "1199"}), told)
    assert refused(srnas(*command, **{LIMIT: "lots"}), f"{LIMIT}=lots: give a number")
    (tmp_path / "a\nb.png").write_bytes(first.read_bytes())
    command = ("upscale", "--model", model, first, tmp_path / "a\nb.png", "--out")
    done = srnas(*command, tmp_path / "out")
    assert done.returncode == 2
    assert "cannot name a file" in done.stderr
    assert not (tmp_path / "out").exists()


def test_upscale_tells_where_it_cannot_write(tmp_path, model, photo):
    Image.fromarray(photo[:30, :40]).save(tmp_path / "x.png")
    command = ("upscale", "--model", model, tmp_path / "x.png", "--out")
    out = tmp_path / "model.safetensors" / "out"
    assert refused(srnas(*command, out), "out/x_x2.png: cannot be written (Not a directory)")


def test_a_folder_of_data_is_checked_for_the_limit_and_for_kinds(tmp_path, photo):
    for index, height in enumerate((30, 32)):
        Image.fromarray(photo[:height, :40]).save(tmp_path / f"{index}.png")
    movie = [Image.fromarray(photo[20 * i : 20 * i + 20, :40]) for i in range(3)]
    movie[0].save(tmp_path / "2.png", save_all=True, append_images=movie[1:])
    done = srnas("data", "check", tmp_path, **{LIMIT: "1200"})
    assert refused(done, "2 faults in 3 images")
    assert "1.png: 40x32 is more than 1200 pixels" in done.stdout
    assert "2.png: holds 3 frames" in done.stdout
    refused(srnas("data", "lr", tmp_path, "--out", tmp_path / "lr"), "2.png: holds 3 frames")


@pytest.mark.parametrize("option", ["--save-images", "--crops"])
def test_a_name_of_a_set_does_not_lead_out_of_the_folder(tmp_path, photo_folder, model, option):
    out = tmp_path / "deep" / "er" / "out"
    before = sorted(tmp_path.rglob("*"))
    common = ("--model", model, "--scale", 2, option, out)
    done = srnas("test", *common, "--data", f"../../evil={photo_folder}")
    assert refused(done, "data: '../../evil' cannot name a file (it has a separator); rename it")
    assert sorted(tmp_path.rglob("*")) == before
    options = {"model": str(model), "scale": 2, "data": {"../../evil": str(photo_folder)}}
    file = write_options(tmp_path / "test.yml", options)
    assert refused(srnas("test", "-opt", file, option, out), "test.yml: data: '../../evil' cannot")
    assert sorted({*before, file}) == sorted(tmp_path.rglob("*"))
    done = srnas("test", *common, "--data", f"..evil..={photo_folder}")
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.rglob("*") if path not in before and path != file]
    assert len([path for path in written if path.is_file()]) == 6
    assert all(path.is_relative_to(tmp_path / "deep") for path in written)
    assert read_rgb(out / "..evil.." / "0.png") is not None
