"""The examples run as they stand there, from any folder, and do what they say."""

import json
import math
import subprocess

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import entropy

import srnas
from srnas.choice import Supernet
from srnas.data.images import read_rgb, write_rgb
from srnas.errors import UserError
from srnas.files import read_json_lines, read_yaml
from srnas.regularizers import REGULARIZERS
from srnas.spaces import space_builder
from srnas.tasks.super_resolution.evaluate import NetworkUpscale
from tests.helpers import ROOT, Started
from tests.helpers import srnas as command_line
from tests.preloaded import run_script

EXAMPLES = ROOT / "examples"
MODELS = ROOT / "tests/compatibility/v0_1_0/models"
OWN = EXAMPLES / "search_with_own_regularizer.py"
FLOOR = 0.5  # which the example gives its regularizer


def run(script, *arguments, folder):
    """Run an example in `folder`."""
    process = Started((EXAMPLES / script, *arguments), work=run_script, folder=folder)
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.command, process.wait(), stdout, stderr)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_enlarged_photograph_is_the_one_that_the_command_line_writes(tmp_path, photo, suffix):
    write_rgb(tmp_path / "photo.png", photo[80:113, 120:175])
    if suffix != ".png":
        cv2.imwrite(str(tmp_path / f"photo{suffix}"), cv2.imread(str(tmp_path / "photo.png")))
    model, given = MODELS / "imdn.safetensors", tmp_path / f"photo{suffix}"
    done = run("upscale_photograph.py", model, given.name, "large.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "imdn: c1=conv_3x3 c2=conv_3x3 c3=conv_3x3 c4=conv_3x3",
        "large.png: 55x33 -> 110x66",
        "the tensor differs by at most 0.50 of 255 before rounding",
    ]
    assert (tmp_path / "large.png").read_bytes().startswith(b"\x89PNG\r\n")
    large = read_rgb(tmp_path / "large.png")
    assert large.shape == (66, 110, 3)
    network = srnas.load(model).network
    assert np.array_equal(large, NetworkUpscale(network, torch.device("cpu"))(read_rgb(given)))
    if suffix == ".png":
        again = command_line("upscale", "--model", model, given, "--out", tmp_path / "out")
        assert again.returncode == 0, again.stderr
        assert np.array_equal(large, read_rgb(tmp_path / "out/photo_x2.png"))


def test_a_missing_photograph_or_folder_and_a_classifier_are_one_line(tmp_path, photo):
    model = MODELS / "imdn.safetensors"
    done = run("upscale_photograph.py", model, "none.png", "large.png", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: none.png: not a readable image"
    write_rgb(tmp_path / "photo.png", photo[:20, :30])
    classifier = MODELS / "nasbench201.safetensors"
    done = run("upscale_photograph.py", classifier, "photo.png", "large.png", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a network for classification")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "large.png").exists()
    done = run("upscale_photograph.py", model, "photo.png", "none/large.png", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == "error: [Errno 2] No such file or directory: 'none/large.png'"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of the quick search and training, and what the example printed."""
    folder = tmp_path_factory.mktemp("example")
    done = run(OWN.name, "--quick", "--out", "runs", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_example_prints_the_genotype_that_it_found_and_trained(searched):
    folder, printed = searched
    search, train = (folder / f"runs/own_regularizer_{kind}" for kind in ("search", "train"))
    choices = json.loads((search / "genotype.json").read_text())["choices"]
    assert choices.keys() == {"c1", "c2", "c3", "c4"}
    found, trained, logs = printed.splitlines()
    assert found == "found: " + " ".join(f"{k}={choice}" for k, choice in choices.items())
    model = srnas.load(train / "model.safetensors")
    assert model.genotype.choices == choices
    psnr = read_json_lines(train / "metrics.jsonl")[-1]["val_psnr"]
    assert trained == f"trained for 10 steps: {psnr:.2f} dB on the validation photograph"
    assert logs == f"the logs are in {search.relative_to(folder)} and {train.relative_to(folder)}"


def test_the_term_of_ones_own_is_in_the_options_and_falls_with_the_entropy_of_the_choices(
    searched,
):
    run = searched[0] / "runs/own_regularizer_search"
    (part,) = read_yaml(run / "options.yml")["regularizers"]
    assert part["term"] == {"name": "choice_entropy", "floor": FLOOR}
    rows = [row for row in read_json_lines(run / "metrics.jsonl") if "loss" in row]
    assert [row["weight_choice_entropy"] for row in rows] == pytest.approx([0, 0.1 / 3, 0.2 / 3])
    assert "choice_entropy" not in rows[0]  # while the weights warm up
    epochs = [
        np.mean([entropy(p) for p in row["probabilities"].values()])
        for row in read_json_lines(run / "alphas.jsonl")
    ]
    assert epochs[0] == pytest.approx(math.log(12), abs=1e-5)
    for index in (1, 2):  # the mean over an epoch lies between its ends
        assert epochs[index] < rows[index]["choice_entropy"] + FLOOR < epochs[index - 1] + 1e-6


def test_the_example_started_again_goes_on_where_it_stopped(searched):
    folder, printed = searched
    model = folder / "runs/own_regularizer_train/model.safetensors"
    before = model.stat().st_mtime_ns
    again = run(OWN.name, "--quick", "--out", "runs", folder=folder)
    assert (again.returncode, again.stdout) == (0, printed), again.stderr
    assert model.stat().st_mtime_ns == before
    other = run(OWN.name, "--out", "runs", folder=folder)
    assert other.returncode == 1
    assert other.stderr.startswith("error: runs/own_regularizer_search/options.yml: ")
    assert "start under another name" in other.stderr


@pytest.fixture
def own_regularizer(monkeypatch):
    """The example's regularizer, registered for one test."""
    from srnas.plugins import load_plugin

    len(REGULARIZERS)  # loads srnas's own, which stay
    monkeypatch.setattr(REGULARIZERS, "_builders", dict(REGULARIZERS._builders))
    load_plugin(OWN)
    return lambda **options: REGULARIZERS.build({"name": "choice_entropy", **options})


def test_the_regularizer_is_the_mean_entropy_above_its_floor(own_regularizer):
    torch.manual_seed(0)
    build = space_builder({"name": "imdn", "num_feat": 8, "num_block": 1})
    supernet = Supernet(build, "imdn", alpha_std=2.0).double()
    rows = [row.detach().numpy() for row in supernet.arch_parameters()]
    wanted = np.mean([entropy(np.exp(row)) for row in rows])
    assert 0.5 < wanted < math.log(12) - 0.5
    term = own_regularizer()(supernet)
    assert term.item() == pytest.approx(wanted)
    assert own_regularizer(floor=0.3)(supernet).item() == pytest.approx(wanted - 0.3)
    assert own_regularizer(floor=2.5)(supernet).item() == 0
    for row, slope in zip(rows, torch.autograd.grad(term, supernet.arch_parameters()), strict=True):
        p = np.exp(row) / np.exp(row).sum()
        exact = -p * (np.log(p) + entropy(p)) / 4  # of four positions
        np.testing.assert_allclose(slope.numpy(), exact, atol=1e-9)


def test_the_regularizer_of_settled_choices_is_nothing_and_has_a_finite_slope(own_regularizer):
    build = space_builder({"name": "imdn", "num_feat": 8, "num_block": 1})
    supernet = Supernet(build, "imdn", alpha_std=0.0)
    with torch.no_grad():
        for alpha in supernet.arch_parameters():
            alpha[3] = 500.0  # the other probabilities are 0 in float32
    term = own_regularizer()(supernet)
    assert term.item() == 0
    slopes = torch.autograd.grad(term, supernet.arch_parameters())
    assert all(slope.isfinite().all() for slope in slopes)


def test_the_option_of_the_regularizer_is_checked_by_its_annotation(own_regularizer):
    with pytest.raises(UserError, match=r"floor: .* greater than or equal to 0, got -1"):
        own_regularizer(floor=-1)
    with pytest.raises(UserError, match="unknown key 'flor'; did you mean 'floor'"):
        own_regularizer(flor=1)


def test_the_command_line_knows_the_regularizer_as_a_plugin():
    done = command_line("--plugin", OWN, "schema", "search")
    assert done.returncode == 0, done.stderr
    assert '"choice_entropy"' in done.stdout
    assert '"choice_entropy"' not in command_line("schema", "search").stdout
