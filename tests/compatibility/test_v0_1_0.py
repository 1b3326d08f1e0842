"""What srnas 0.1.0 (commit bf2213b) wrote is read, resumed and continued to the same result.

`v0_1_0/runs` are runs broken off at step 9 of 12 or 16; `v0_1_0/expected` holds the logs of the
same runs as that commit finished them; `v0_1_0/models` are its model files, each with the output
that it computed for `default_rng(0).random((1, 3, 16, 20))`.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from srnas.engine.search import search
from srnas.engine.train import train
from srnas.files import read_json_lines, read_yaml
from srnas.model_file import NETWORK, load_model
from srnas.options import check_options

FILES = Path(__file__).parent / "v0_1_0"
# Another processor or torch rounds otherwise; on the machine that made them the logs are equal.
TOLERANCE = {"rel": 1e-3, "abs": 1e-5}


def resumed(tmp_path, kind, name):
    """The folder of a copy of the run, resumed to its end."""
    shutil.copytree(FILES / "runs" / name, tmp_path / name)
    content = read_yaml(tmp_path / name / "options.yml") | {"experiments": str(tmp_path)}
    run = {"search": search, "train": train}[kind]
    return run(check_options(kind, content, "options"), resume=True).parent


def assert_close(one, other):
    """Equal up to rounding, in nested dicts and lists."""
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for key in other:
            assert_close(one[key], other[key])
    elif isinstance(other, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_close(a, b)
    elif isinstance(other, float):
        assert one == pytest.approx(other, **TOLERANCE)
    else:
        assert one == other


@pytest.mark.parametrize(
    ("kind", "name", "logs"),
    [
        ("search", "search_dlsr", ("alphas.jsonl", "metrics.jsonl")),
        ("search", "search_darts", ("alphas.jsonl", "metrics.jsonl")),
        ("train", "train_imdn", ("metrics.jsonl",)),
    ],
)
def test_a_run_resumes_to_the_result_of_the_release(tmp_path, kind, name, logs):
    run = resumed(tmp_path, kind, name)
    for log in logs:
        expected = read_json_lines(FILES / "expected" / name / log)
        assert len(expected) > len(read_json_lines(FILES / "runs" / name / log))
        rows = read_json_lines(run / log)
        for row in rows:
            row.pop("val_bicubic_psnr", None)  # newer than the release
        assert_close(rows, expected)


def test_a_resumed_training_keeps_the_weights_of_the_release(tmp_path):
    run = resumed(tmp_path, "train", "train_imdn")
    ours, theirs = (
        load_file(file) for file in (run / "model.safetensors", FILES / "models/imdn.safetensors")
    )
    assert ours.keys() - {NETWORK} == theirs.keys()
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["imdn", "nasbench201"])
def test_a_model_file_computes_what_it_computed(name):
    model = load_model(FILES / "models" / f"{name}.safetensors")
    image = np.random.default_rng(0).random((1, 3, 16, 20), dtype=np.float32)
    with torch.no_grad():
        output = model.network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(output, np.load(FILES / "models" / f"{name}.npy"), atol=1e-5)
    assert model.space.name == name
    then, now = model.provenance["options"]["space"], model.space.to_dict()
    new = {"imdn": {"per_block": False, "search_rest": None, "search_feat": None}}.get(
        name, {}
    )  # options that the release did not have
    assert json.dumps({**then, **new}) == json.dumps(now)
