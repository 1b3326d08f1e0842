"""A plugin of 60 lines with a width, a depth and an operation: everything works on it."""

import json

import pytest
import yaml

from srnas.files import read_json, read_json_lines
from tests.helpers import ROOT, search_options, srnas, train_options, write_options

PLUGIN = ROOT / "tests/plugins/slim.py"
LABELS = {"width", "hidden", "depth", "op"}


def run(*command):
    done = srnas("--plugin", PLUGIN, *command)
    assert done.returncode == 0, done.stderr
    return done


def test_the_plugin_is_one_file_of_sixty_lines():
    assert len(PLUGIN.read_text().splitlines()) <= 60


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The run folders of searches by method."""
    folder = tmp_path_factory.mktemp("found")
    photos = ROOT / "tests/plugins"
    options = search_options(folder, photos, space={"name": "slim"}, epochs=2, steps_per_epoch=2)
    options["data"] = {
        "train": {"packaged": "train"}, "alpha": {"packaged": "alpha"}, "val": {"packaged": "val"},
        "batch_size": 2, "hr_patch": 32,
    }  # fmt: skip
    options.pop("regularizers")
    file = write_options(folder / "o.yml", options)
    runs = {}
    for method in ("sa_darts", "drnas", "random", "sac_darts_flops"):
        more = ["partial_channels=1"] if method.startswith("sac") else []
        run("search", "-opt", file, f"method={method}", f"name={method}", *more)
        runs[method] = folder / "experiments" / method
    return runs


def test_methods_search_it(found):
    for method, folder in found.items():
        choices = read_json(folder / "genotype.json")["choices"]
        assert choices.keys() == LABELS, method
        assert choices["width"] in (4, 6, 8)
        assert choices["depth"] in (0, 1, 2)
        (row, *_) = read_json_lines(folder / "alphas.jsonl")
        assert row["candidates"]["width"] == ["4", "6", "8"]
        assert "width" in (folder / "report.html").read_text()


def test_a_found_network_is_trained_reported_and_exported(found, tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, steps=2, space={"name": "slim"})
    file = write_options(tmp_path / "o.yml", options)
    run("train", "-opt", file, "--genotype", found["drnas"] / "genotype.json")
    folder = tmp_path / "experiments/train"
    assert "width" in (folder / "report.html").read_text()
    out = tmp_path / "slim.onnx"
    assert (
        "largest difference to PyTorch"
        in run("export", "--model", folder / "model.safetensors", "--out", out).stdout
    )


def test_a_table_of_it_is_built_fitted_and_asked(tmp_path, photo_folder):
    training = train_options(tmp_path, photo_folder, steps=1, space={"name": "slim"})
    protocol = {
        "name": "slim",
        "version": 1,
        "train": {k: training[k] for k in ("space", "data", "optimizer", "steps")},
        "sample": {"count": 32, "repeated": 2, "seeds": 2},
    }
    file = tmp_path / "protocol.yml"
    file.write_text(yaml.safe_dump(protocol))
    out, table = tmp_path / "results", tmp_path / "slim.csv.gz"
    run("table", "build", "-opt", file, "--out", out)
    run("table", "fit", "-opt", file, "--results", out, "--out", table)
    best = run("table", "best", "--table", table).stdout
    assert "width=" in best
    asked = ["width=8", "hidden=4", "depth=2", "op=conv_3x3"]
    shown = run("table", "query", " ".join(asked), "--table", table, "--json", tmp_path / "q.json")
    assert json.loads((tmp_path / "q.json").read_text())
    assert all(word in shown.stdout for word in asked)


def test_its_alternatives_are_timed(tmp_path):
    file = tmp_path / "times.json"
    run("latency", "table", "--space", "slim", "--size", "24x16", "--repeats", "2",
        "--runtime", "torch", "--out", file)  # fmt: skip
    table = read_json(file)
    assert {label: set(row) for label, row in table["ms"].items()} == {
        "width": {"4", "6", "8"},
        "hidden": {"2", "4"},
        "depth": {"0", "1", "2"},
        "op": {"conv_3x3", "conv_5x5", "ds_conv_3x3"},
    }
