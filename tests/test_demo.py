"""The demonstration keeps its promise."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers import srnas


@pytest.mark.slow
def test_the_demo_beats_bicubic_by_eight_tenths_of_a_decibel(tmp_path):
    done = srnas("demo", "--out", tmp_path / "demo", timeout=1200)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^  (\S+)$", done.stdout, re.MULTILINE)
    assert len(shown) == 7
    for path in map(Path, shown):
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0, path
    assert "demo: c1=" in done.stdout
    (result,) = json.loads((tmp_path / "demo/test.json").read_text())["results"]
    assert result["psnr"] >= result["bicubic"]["psnr"] + 0.8
