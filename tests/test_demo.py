"""The demonstration keeps its promise."""

import json

import pytest

from tests.helpers import srnas


@pytest.mark.slow
def test_the_demo_beats_bicubic_by_eight_tenths_of_a_decibel(tmp_path):
    done = srnas("demo", "--out", tmp_path / "demo", timeout=1200)
    assert done.returncode == 0, done.stderr
    for name in ("genotype.json", "model.safetensors", "model.onnx"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    (result,) = json.loads((tmp_path / "demo/test.json").read_text())["results"]
    assert result["psnr"] >= result["bicubic"]["psnr"] + 0.8
