"""The images of users on the command line: kept whole, or refused in one line."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from srnas.data.bicubic import resize, resize_uint8
from srnas.data.headers import LIMIT
from srnas.data.images import read_rgb
from srnas.model_file import load_model
from srnas.tasks.super_resolution import tiles
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
    files = [tmp_path / name for name in ("rgb.png", "opaque.png", "turned.png")]
    cv2.imwrite(str(files[0]), small[..., ::-1])
    Image.fromarray(np.dstack([small, np.full_like(alpha, 255)])).save(files[1])
    Image.fromarray(turned).save(files[2], exif=exif)
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


def test_upscale_keeps_gray_depth_and_profile(tmp_path, model, photo):
    small = np.ascontiguousarray(photo[100:130, 150:190])
    gray = small[..., 1]
    rng = np.random.default_rng(0)
    deep = (small.astype(np.uint16) << 8) + rng.integers(0, 256, small.shape, np.uint16)
    veil = rng.integers(0, 65536, (30, 40), np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    folder, out = tmp_path / "photographs", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(gray).save(folder / "gray.png")
    Image.fromarray(gray).save(folder / "gray.tif")
    Image.fromarray(np.dstack([gray, gray // 2])).save(folder / "gray_veil.png")
    Image.fromarray(small).save(folder / "profile.png", icc_profile=profile)
    Image.fromarray(deep[..., 1]).save(folder / "deep_gray.tif", icc_profile=profile)
    cv2.imwrite(str(folder / "deep.png"), deep[..., ::-1])
    cv2.imwrite(str(folder / "deep_veil.png"), np.dstack([deep[..., ::-1], veil]))
    cv2.imwrite(str(folder / "deep_rgb.tif"), deep[..., ::-1])
    done = srnas("upscale", "--model", model, folder, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "deep_rgb_x2.png: its 16 bits became 8" in done.stdout
    assert len(list(out.iterdir())) == 8

    network = load_model(model).network

    def enlarge(image, levels):
        x = torch.from_numpy(image.astype(np.float64) / levels).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            return network(x)[0].clamp(0, 1).permute(1, 2, 0).double().numpy() * levels

    expected = enlarge(np.dstack([gray] * 3), 255)
    luma = expected.round() @ [0.299, 0.587, 0.114]
    for name in ("gray.png_x2.png", "gray.tif_x2.png"):
        written = Image.open(out / name)
        assert written.mode == "L"
        assert np.abs(np.asarray(written) - luma).max() <= 1  # rounding
    written = Image.open(out / "gray_veil_x2.png")
    assert written.mode == "LA"
    assert np.abs(np.asarray(written)[..., 0] - luma).max() <= 1
    written = Image.open(out / "profile_x2.png")
    assert written.info["icc_profile"] == profile
    assert ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert np.abs(np.asarray(written) - enlarge(small, 255)).max() <= 1

    expected = enlarge(deep, 65535)
    written = cv2.imread(str(out / "deep_x2.png"), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    assert np.abs(written[..., ::-1] - expected).max() <= 1
    assert np.unique(written % 257).size > 1  # not 8 bits spread over 16
    written = cv2.imread(str(out / "deep_veil_x2.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(written[..., 2::-1] - expected).max() <= 1
    assert np.abs(written[..., 3] - resize(veil[..., None], 2)[..., 0].clip(0, 65535)).max() <= 1
    written = Image.open(out / "deep_gray_x2.png")
    assert written.mode == "I;16"
    assert written.info["icc_profile"] == profile
    luma = enlarge(np.dstack([deep[..., 1]] * 3), 65535) @ [0.299, 0.587, 0.114]
    assert np.abs(np.asarray(written) - luma).max() <= 1.5
    written = Image.open(out / "deep_rgb_x2.png")
    assert np.abs(np.asarray(written) - enlarge(deep >> 8, 255)).max() <= 1


def test_upscale_takes_tiles_by_itself_for_a_large_image(tmp_path, model, photo, monkeypatch):
    small = np.ascontiguousarray(photo[:60, :80])
    network = load_model(model).network
    whole = NetworkUpscale(network, torch.device("cpu"))
    monkeypatch.setattr(tiles, "WHOLE", 60 * 80 - 1)
    monkeypatch.setattr(tiles, "TILE", 40)
    method, side = tiles.in_parts(whole, 2, small, None)
    assert side == 40
    assert np.array_equal(method(small), tiles.Tiled(whole, 2, 40, 16)(small))
    assert tiles.in_parts(whole, 2, small[1:], None) == (whole, 0)
    assert tiles.in_parts(whole, 2, small, 0) == (whole, 0)


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
