"""docs/shipping.md: every command and Python block works, in the order of the page."""

import re
import shlex

import pytest
import yaml
from PIL import Image

from srnas.data.packaged import packaged_pairs
from srnas.model_file import load_model, save_model
from srnas.options import load_options
from tests.helpers import ROOT, Started, srnas
from tests.preloaded import run_script

PAGE = (ROOT / "docs/shipping.md").read_text()
BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the page describes it."""
    model = ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors"
    save_model(tmp_path / "model.safetensors", load_model(model))
    (tmp_path / "shipped").mkdir()
    for name, split in (("photos", "train"), ("val", "val")):
        (tmp_path / name).mkdir()
        for pair in packaged_pairs(split)[:2]:
            photo = Image.open(pair.hr).convert("RGB").crop((0, 0, 160, 120))
            photo.save(tmp_path / name / f"{pair.name}.png")
    photo.save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_works_from_top_to_bottom(folder):
    for package in ("onnxruntime", "openvino", "ncnn", "pnnx"):
        pytest.importorskip(package, reason="needs srnas[export,openvino,ncnn]")
    ran = 0
    for language, block in BLOCKS:
        if language == "python":
            (folder / "block.py").write_text(block)
            process = Started((folder / "block.py",), work=run_script)
            _, told = process.communicate()
            assert process.returncode == 0, told
            ran += 1
        for line in block.replace("\\\n", " ").splitlines() if language == "bash" else ():
            command, *arguments = shlex.split(line)
            if command == "srnas":
                done = srnas(*arguments)
                assert done.returncode == 0, (line, done.stderr)
                ran += 1
    assert ran >= 9
    names = {file.name for file in (folder / "shipped").iterdir()}
    assert {"model_x2.onnx", "half_x2.onnx", "small_x2.onnx", "model_x2.pt2"} <= names
    assert {
        "int8_x2.xml",
        "int8_x2.bin",
        "model_x2.param",
        "model_x2.bin",
        "int8_x2.xml.md",
    } <= names
    with Image.open("photo.jpg") as before, Image.open("photo_x2.png") as after:
        assert after.size == (2 * before.width, 2 * before.height)


def test_the_options_of_the_page_are_those_of_a_search():
    (block,) = (block for language, block in BLOCKS if language == "yaml")
    regularizers = yaml.safe_load(block)
    options = load_options("search", ROOT / "options/search/imdn_x2.yml", (), regularizers)
    assert options.regularizers[0].term.name == "expected_cost"
