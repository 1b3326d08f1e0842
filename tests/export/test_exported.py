"""Exported files are measured as the networks that they were made from: torch is the oracle."""

import json

import pytest
import torch

from srnas.errors import UserError
from srnas.export.exported import ExportedNetwork, is_exported
from srnas.export.write import export
from srnas.model_file import Model, save_model
from srnas.spaces import check_space, derived_network, published_genotype
from srnas.tasks.super_resolution.task import SuperResolution
from tests.helpers import srnas

PACKAGES = {
    "m.onnx": ("onnx", "onnxruntime"),
    "m.xml": ("openvino",),
    "m.param": ("ncnn", "pnnx"),
}


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    space = check_space({"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1})
    genotype = published_genotype("imdn")
    return Model(derived_network(space, genotype).eval(), space, genotype, {})


@pytest.mark.parametrize("name", PACKAGES)
def test_an_export_maps_images_as_the_network_does(tmp_path, made, name):
    for package in PACKAGES[name]:
        pytest.importorskip(package)
    export(made, tmp_path / name, {"m.param": "ncnn"}.get(name), "fp32")
    exported = ExportedNetwork(tmp_path / name, SuperResolution.ports)
    assert (exported.scale, is_exported(tmp_path / name)) == (2, True)
    images = torch.rand(3, 3, 17, 30)
    with torch.no_grad():
        torch.testing.assert_close(exported(images), made.network(images), rtol=0, atol=1e-4)


def test_an_export_is_tested_beside_its_network(tmp_path, made):
    pytest.importorskip("onnxruntime")
    save_model(tmp_path / "net.safetensors", made)
    export(made, tmp_path / "net.onnx")
    given = ("test", "--data", "photographs=packaged", "--json", tmp_path / "t.json", "--device")
    models = ("--model", tmp_path / "net.safetensors", "--beside", tmp_path / "net.onnx")
    done = srnas(*given, "cpu", *models)
    assert done.returncode == 0, done.stderr
    assert "net.onnx" in done.stdout
    assert done.stdout.count("c1=") == 1
    result = json.loads((tmp_path / "t.json").read_text())
    (beside,) = result["beside"]
    assert set(beside) == {"model", "results"}
    for key, tolerance in (("psnr", 1e-3), ("ssim", 1e-5)):
        expected = result["results"][0][key]
        assert beside["results"][0][key] == pytest.approx(expected, abs=tolerance)
    card = srnas(*given, "cpu", *models, "--scorecard")
    assert (card.returncode, card.stderr.count("\n")) == (2, 1)
    assert "net.onnx: a scorecard counts the layers of a network" in card.stderr


def test_what_cannot_be_run_is_told_in_a_line(tmp_path, made):
    pytest.importorskip("onnxruntime")
    file = export(made, tmp_path / "whole.onnx").files[0]
    (tmp_path / "cut.onnx").write_bytes(file.read_bytes()[:2000])
    export(made, tmp_path / "fixed.onnx", size=(32, 16))
    (tmp_path / "alone.param").write_text("7767517\n")
    for name, told in (
        ("cut.onnx", "cut.onnx: its runtime cannot open it: "),
        ("fixed.onnx", "fixed.onnx: its runtime fails on an image of 24x24, which a file of one"),
        ("alone.param", "alone.bin: no such file"),
        ("none.xml", "none.xml: no such file"),
    ):
        with pytest.raises(UserError) as caught:
            ExportedNetwork(tmp_path / name, SuperResolution.ports)
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_program_of_torch_may_hold_code_and_is_not_opened(tmp_path):
    (tmp_path / "m.pt2").write_bytes(b"PK")
    assert not is_exported(tmp_path / "m.pt2")
    done = srnas("test", "--model", tmp_path / "m.pt2", "--data", "photographs=packaged")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "m.pt2" in done.stderr
