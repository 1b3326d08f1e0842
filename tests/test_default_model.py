"""The model in the package: that it is small, good, and what its card says."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from srnas.data.bicubic import resize_uint8
from srnas.data.images import benchmark_pairs, read_rgb
from srnas.export.target import EXPORT_TARGETS
from srnas.export.write import export
from srnas.model_file import DEFAULT_FILE, load_model
from srnas.tasks.super_resolution.evaluate import evaluate
from srnas.tasks.super_resolution.protocols import PROTOCOLS
from srnas.tasks.super_resolution.task import SuperResolution
from tests.helpers import ROOT, srnas

BICUBIC = {"Set5": 33.678, "Set14": 30.329}  # dB, as published; basicsr's protocol
CARD = Path(DEFAULT_FILE).with_suffix(".md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def told(name):
    """PSNR and SSIM of the default model on a set, as its card tells them."""
    head, row = (
        re.search(rf"^\| {first} \|.*$", CARD, re.MULTILINE)[0] for first in ("network", "default")
    )
    column = [cell.strip() for cell in head.split("|")].index(name)
    return tuple(map(float, row.split("|")[column].split("/")))


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_it_reaches_the_figures_of_its_card_and_beats_bicubic(shared, tmp_path, name):
    run = srnas(
        "test", "--model", "default", "--data", f"{name}={shared / 'data' / name}",
        "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (found,) = json.loads((tmp_path / "r.json").read_text())["results"]
    psnr, ssim = told(name)
    assert found["psnr"] == pytest.approx(psnr, abs=0.002)
    assert found["ssim"] == pytest.approx(ssim, abs=1e-4)
    assert f"{psnr:.3f} dB on {name}" in README
    assert found["bicubic"]["psnr"] == pytest.approx(BICUBIC[name], abs=0.005)
    if name == "Set5":
        assert found["psnr"] > BICUBIC[name] + 3.5


def test_it_is_small_and_names_no_machine():
    model = load_model(Path("default"))
    assert DEFAULT_FILE.stat().st_size < 2_000_000
    count = sum(p.numel() for p in model.network.parameters())
    assert count < 400_000
    assert f"{count:,}" in CARD
    assert not re.search(r'"/[^"]', json.dumps(model.provenance))


@pytest.mark.parametrize(
    ("target", "precision", "most"),
    [("onnx", "fp32", 1e-3), ("ncnn", "fp32", 1e-3), ("ncnn", "fp16", 0.01)],
)
@pytest.mark.usefixtures("small_tiles")
def test_exported_it_keeps_its_psnr_on_set5(shared, tmp_path, target, precision, most):
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target), reason="needs its extra")
    model = load_model(DEFAULT_FILE)
    files = export(model, tmp_path / "m", target, precision).files
    content = {file.suffix: file.read_bytes() for file in files}
    run = EXPORT_TARGETS.build(target).open(content, SuperResolution.ports, 1)

    def upscale(lr):
        image = lr.astype(np.float32).transpose(2, 0, 1)[None] / 255
        return np.round(run(image)[0].clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)

    pairs = benchmark_pairs(shared / "data/Set5", 2)
    found = evaluate(upscale, pairs, 2, PROTOCOLS["basicsr"])["psnr"]
    assert found == pytest.approx(told("Set5")[0], abs=most + 0.0005)


def test_a_photograph_is_enlarged_without_naming_a_model(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hr = read_rgb(shared / "data/Set5/HR/butterfly.png")
    hr = hr[: hr.shape[0] // 2 * 2, : hr.shape[1] // 2 * 2]
    lr = resize_uint8(hr, 0.5)
    cv2.imwrite("photo.png", lr[..., ::-1])
    run = srnas("upscale", "photo.png")
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "photo_x2.png"

    def error(image):
        return np.square(image.astype(float) - hr).mean()

    assert error(read_rgb(Path("photo_x2.png"))) < 0.5 * error(resize_uint8(lr, 2))


def test_a_file_of_this_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("default").write_bytes(b"nothing")
    run = srnas("upscale", "photo.png")
    assert run.returncode == 2
    assert run.stderr.startswith("error: default: ")
