"""What the README shows works as it stands there."""

import re
import shutil
import subprocess
import sys

from tests.helpers import ROOT

HEADER = """
from typing import Literal
import torch, torch.nn.functional as F
from torch import nn
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES, derived_network, published_genotype, space_builder
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.spaces.published import named_candidates
"""
USE = """
from srnas.choice import Relaxed, Supernet
from srnas.options import load_options
options = load_options("search", "options/search/imdn_sac_demo.yml", ["space={name: tiny}"])
assert options.space.to_dict() == {"name": "tiny", "scale": 2, "num_feat": 16}
supernet = Supernet(space_builder(options.space), "tiny", choose=Relaxed(partial_channels=4))
x = torch.rand(1, 3, 8, 9)
assert supernet(x).shape == (1, 3, 16, 18)
assert derived_network(options.space, supernet.genotype())(x).shape == (1, 3, 16, 18)
assert derived_network(options.space, published_genotype("tiny"))(x).shape == (1, 3, 16, 18)
print("searched")
"""


def python_block(mark: str) -> str:
    """The README's Python block that holds `mark`."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if mark in block)
    return block


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, shared, photo):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments/demo").mkdir(parents=True)
    model = ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors"
    shutil.copy(model, tmp_path / "experiments/demo/model.safetensors")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/Set5").symlink_to(shared / "data/Set5")
    space = 'threads=1, space={"name": "imdn", "num_feat": 16, "num_block": 1}'
    block = python_block("srnas.load").replace(
        "seed=1)", f"seed=1, epochs=1, steps_per_epoch=2, warmup_epochs=0, {space})"
    )
    block = block.replace("genotype=found.genotype)", f"genotype=found.genotype, steps=2, {space})")
    names = {"photo": photo[:40, :50]}
    exec(block, names)
    assert names["sr"].shape == (80, 100, 3)
    assert 10 < names["figures"]["psnr"] < 50
    assert names["trained"].model.genotype == names["found"].genotype
    assert names["network"].task == "super_resolution"


def test_the_space_of_the_readme_can_be_searched_and_derived():
    block = python_block("class Tiny")
    run = subprocess.run(
        [sys.executable, "-c", HEADER + block + USE], capture_output=True, text=True, cwd=ROOT
    )
    assert run.stdout.strip() == "searched", run.stderr


def test_every_file_and_command_that_the_readme_names_exists():
    from srnas.cli import build_app

    text = (ROOT / "README.md").read_text()
    app = build_app()
    commands = {part.name for part in (*app.registered_commands, *app.registered_groups)}
    assert set(re.findall(r"^srnas (\w+)", text, re.MULTILINE)) <= commands
    for path in set(
        re.findall(r"\b(?:options|tools|datasets|srnas|tests)/[\w/]+\.(?:yml|sh|md|py)", text)
    ):
        assert (ROOT / path).exists() or path == "srnas/spaces/tiny.py", path
