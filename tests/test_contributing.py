"""The recipes of CONTRIBUTING.md work: followed on a copy of the checkout, and from outside it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.special import softmax
from skimage.metrics import normalized_root_mse

import srnas
from srnas.choice import Supernet
from srnas.cli import build_app
from srnas.data.bicubic import resize_uint8
from srnas.data.images import read_rgb
from srnas.data.packaged import packaged_pairs
from srnas.files import load_tensors, read_json_lines, read_yaml
from srnas.plugins import load_plugin
from srnas.regularizers import REGULARIZERS
from srnas.spaces import space_builder
from tests.helpers import ROOT, wait_for_step

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = ("A search space", "A regularizer", "A task", "A metric", "An export target")
TINY_SEARCH = "threads=1 space.num_feat=8 data.batch_size=2 data.hr_patch=32"
SHORT = {  # makes a recipe's command take seconds
    "search": f"{TINY_SEARCH} epochs=2 steps_per_epoch=2 warmup_epochs=1 val_every_epochs=2",
    "train": "threads=1 space.num_feat=8 steps=4 data.batch_size=2",
}
KILLED = (
    f"{TINY_SEARCH} space.num_block=1 space.candidates=[conv_3x3,ds_conv_3x3] "
    "data.train.packaged=val data.val=null epochs=24 steps_per_epoch=1 warmup_epochs=1"
)
COMMANDS = """
import shlex, sys
from pathlib import Path
import srnas
from srnas.cli import main

package, *lines = sys.argv[1:]
assert Path(srnas.__file__).parent == Path(package), srnas.__file__
for line in lines:
    print("RUN", line)
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
MEASURE = """
import json
import numpy as np, skimage.data, srnas, torch
from scipy.ndimage import uniform_filter
from skimage.metrics import peak_signal_noise_ratio

model = srnas.load("experiments/deblurring_train/model.safetensors")
sharp = skimage.data.rocket()
blurred = uniform_filter(sharp / 255, size=(3, 3, 1), mode="mirror").astype(np.float32)
with torch.no_grad():
    restored = model.network(torch.from_numpy(blurred).permute(2, 0, 1)[None])[0]
restored = restored.permute(1, 2, 0).numpy().clip(0, 1)
psnr = [peak_signal_noise_ratio(sharp / 255, x, data_range=1) for x in (restored, blurred)]
print()
print(json.dumps([psnr, model.provenance["val"]]))
"""
RUN_SCRIPT = """
import sys
import numpy as np, torch

program = torch.jit.load("imdn.ts")
for batch, height, width in ((1, 16, 20), (2, 5, 33)):
    image = np.random.default_rng(0).random((batch, 3, height, width), dtype=np.float32)
    with torch.no_grad():
        np.save(f"imdn_{height}.npy", program(torch.from_numpy(image)).numpy())
assert "srnas" not in sys.modules
"""


def recipe(title: str) -> str:
    """The section of CONTRIBUTING.md under a title."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return section


def files(text: str) -> dict[str, str]:
    """Path -> content of the files that blocks of Python and YAML are."""
    blocks = re.findall(r"^```(?:python|yaml)\n# (.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == len(re.findall(r"^```(?:python|yaml)$", text, re.MULTILINE))
    return dict(blocks)


def commands(title: str, *, plugin: bool = False) -> list[str]:
    """The `srnas` lines of a recipe: those inside the package, or those with plugins."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", recipe(title), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    assert all(line.startswith(("srnas ", "bash tools/test.sh ")) for line in lines), lines
    lines = [line for line in lines if line.startswith("srnas ")]
    return [line for line in lines if ("--plugin" in line) == plugin]


def shortened(line: str) -> str:
    """A command of a recipe with options that let it take seconds."""
    return f"{line} {SHORT.get(line.split()[1], '')}"


def run(folder: Path, *arguments: str, package: Path | None = None) -> str:
    """Run Python in a folder, with the package in there or elsewhere; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package or folder), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def last_value(run_folder: Path, key: str) -> float:
    """The last value of a column of metrics.jsonl."""
    return [row[key] for row in read_json_lines(run_folder / "metrics.jsonl") if key in row][-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with the files of all recipes in their places."""
    folder = tmp_path_factory.mktemp("contributing") / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__", "runs", "expected")
    for name in ("srnas", "options", "tests"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", folder)
    assert (folder / "srnas/recipes").readlink() == Path("../options")
    for title in RECIPES:
        for name, content in files(recipe(title)).items():
            name, _, addition = name.partition(": add to ")
            file = folder / name
            if addition:
                opening = f"\n{addition} = {{"
                assert file.read_text().count(opening) == 1
                head, _, tail = file.read_text().partition(opening)
                line, _, rest = tail.partition("\n")
                content = f"{head}{opening}{line}\n{content}{rest}"
            else:
                assert not file.exists(), f"{name}: the recipe would replace a file"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    return folder


class Followed(NamedTuple):
    """What the commands of the recipes left."""

    folder: Path
    printed: dict[str, str]  # by the last word of the command
    measured: str


@pytest.fixture(scope="module")
def followed(checkout: Path) -> Followed:
    """The commands of the space, the task, the metric and the export target, in one process."""
    titles = ("A search space", "A task", "A metric", "An export target")
    lines = [shortened(line) for title in titles for line in commands(title)]
    printed = run(checkout, "-c", COMMANDS + MEASURE, f"{checkout}/srnas", *lines)
    _, *parts = printed.split("RUN ")
    by_word = {part.splitlines()[0].split()[-1]: part for part in parts}
    return Followed(checkout, by_word, printed.splitlines()[-1])


@pytest.fixture(scope="module")
def outside(checkout: Path) -> Path:
    """A folder that holds every file of the recipes by its name alone."""
    folder = checkout.parent / "outside"
    folder.mkdir()
    for title in RECIPES:
        for name, content in files(recipe(title)).items():
            if name.startswith(("srnas/", "options/search")) and "__init__" not in name:
                (folder / Path(name).name).write_text(content)
    method = "options/methods/settle.yml"
    (folder / Path(method).name).write_text(files(TEXT)[method])
    model = ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors"
    shutil.copy(model, folder / "model.safetensors")
    return folder


def test_every_file_and_command_that_contributing_names_exists():
    app = build_app()
    known = {part.name for part in (*app.registered_commands, *app.registered_groups)}
    lines = [
        line
        for title in RECIPES
        for plugin in (False, True)
        for line in commands(title, plugin=plugin)
    ]
    words = {next(w for w in shlex.split(line)[1:] if w in known) for line in lines}
    assert words == {"search", "train", "profile", "export", "test"}
    new = {name.partition(":")[0] for name in files(TEXT)}
    for path in set(
        re.findall(r"(?<![\w/])(?:options|tools|docs|srnas|tests)/[\w/.]+\.(?:yml|sh|md|py)", TEXT)
    ):
        assert (ROOT / path).exists() or path in new, path
    assert (ROOT / ".pre-commit-config.yaml").exists()


def test_the_code_of_every_recipe_is_linted_and_formatted(checkout):
    pytest.importorskip("ruff", reason="needs srnas[dev]")
    python = [name for name in files(TEXT) if name.endswith(".py")]
    run(checkout, "-m", "ruff", "check", *python)
    run(checkout, "-m", "ruff", "format", "--check", *python)


@pytest.mark.slow
def test_the_code_of_every_recipe_is_typed(checkout):
    run(checkout, "-m", "mypy", "--cache-dir", str(checkout.parent / "mypy"))


def test_every_recipe_passes_its_tests_and_the_contracts_of_every_part(checkout):
    lines = re.findall(
        r"^bash tools/test\.sh (tests/[^-\n]*)$", "".join(map(recipe, RECIPES)), re.M
    )
    assert len(lines) == len(RECIPES)
    named = sorted({file for line in lines for file in line.split()})
    assert "tests/test_contracts.py" in named
    ours = (
        "tiny or tsallis or inertia or deblurring or sharpener or nrmse or torchscript "
        "or changes_no_space"
    )
    printed = run(checkout, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", ours, *named)
    for passed in (
        "test_every_space_with_choices_searches_and_derives[tiny]",
        "test_every_space_with_choices_searches_and_derives[sharpener]",
        "test_every_regularizer_is_a_finite_scalar_on_every_space[tsallis-tiny]",
        "test_every_regularizer_is_a_finite_scalar_on_every_space[inertia-darts]",
        "test_every_part_has_a_docstring_and_a_schema[export target-torchscript]",
        "test_every_metric_has_a_title_and_says_which_values_are_better[nrmse]",
        "test_it_is_scikit_images",
        "test_a_registered_primitive_changes_no_space",
        "test_it_is_shannons_entropy_as_q_falls_to_1",
        "test_the_blur_is_scipys_uniform_filter",
        "test_a_module_computes_what_the_release_computed",
        "test_an_unknown_precision_is_refused",
    ):
        assert re.search(rf"{re.escape(passed)} PASSED", printed), passed


def test_the_space_is_searched_and_trained(followed):
    found = json.loads((followed.folder / "experiments/tiny/genotype.json").read_text())
    candidates = {"conv_3x3", "conv_5x5", "ds_conv_3x3", "ds_conv_5x5"}
    assert found["choices"].keys() == {"a", "b"}
    assert set(found["choices"].values()) <= candidates
    trained = read_yaml(followed.folder / "experiments/tiny_x2/options.yml")
    assert trained["space"] == {"name": "tiny", "scale": 2, "num_feat": 8}
    assert (followed.folder / "experiments/tiny_x2/model.safetensors").is_file()


def test_the_gradients_of_the_regularizers_are_their_closed_forms(checkout, monkeypatch):
    list(REGULARIZERS)  # loads those of the package
    monkeypatch.setattr(REGULARIZERS, "_builders", dict(REGULARIZERS._builders))
    for name in ("tsallis", "inertia"):
        load_plugin(checkout / f"srnas/regularizers/{name}.py")
    torch.manual_seed(0)
    supernet = Supernet(space_builder("imdn"), "imdn", alpha_std=1.0).double()
    alphas = dict(supernet.alphas.items())
    value = REGULARIZERS["tsallis"](q=3.0)(supernet)
    for label, gradient in zip(alphas, torch.autograd.grad(value, alphas.values()), strict=True):
        p = softmax(alphas[label].detach().numpy())
        slope = -3 * p**2 / 2 / len(alphas)  # of the mean of (1 - sum p^3) / 2
        np.testing.assert_allclose(gradient.numpy(), p * (slope - (p * slope).sum()), atol=1e-12)

    inertia = REGULARIZERS["inertia"](decay=0.75)
    assert inertia(supernet).item() == 0
    moves = {label: torch.randn_like(alpha) for label, alpha in alphas.items()}
    for label, alpha in alphas.items():
        alpha.data += moves[label]
    inertia.alphas_moved(supernet)  # the average takes a quarter of the move
    value = inertia(supernet)
    for label, gradient in zip(alphas, torch.autograd.grad(value, alphas.values()), strict=True):
        np.testing.assert_allclose(gradient.numpy(), 0.75 * moves[label].numpy(), atol=1e-12)


def test_a_killed_search_with_the_regularizers_goes_on_from_their_state(
    checkout, tmp_path, monkeypatch
):
    (line,) = commands("A regularizer")
    program, command, option, file, *overrides = shlex.split(line)
    assert (program, command, option) == ("srnas", "search", "-opt")
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    overrides += [*KILLED.split(), f"experiments={tmp_path}"]
    # Not `helpers.start` and `helpers.srnas`, whose server has imported the package itself.
    run = [sys.executable, "-m", "srnas", command, "-opt", file, *overrides]
    process = subprocess.Popen(run, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_for_step(tmp_path / "settle", process, 4)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    at = load_tensors(tmp_path / "settle/checkpoints/last.pt")["step"]
    assert 0 < at < 24, "it was not killed in the middle"
    again = subprocess.run([*run, "--resume"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr

    whole = tmp_path / "settle"
    assert 0 < last_value(whole, "tsallis") < 2  # (1 - N^-1/2) / (1/2) is below 2
    assert last_value(whole, "weight_tsallis") == pytest.approx(0.00392 * 10 * 23 / 24)
    assert last_value(whole, "inertia") > 0
    parts = load_tensors(whole / "checkpoints/last.pt")["parts"]
    assert {name for name in parts if name.startswith("term")} == {"term1"}
    first, *later = [row["alphas"] for row in read_json_lines(whole / "alphas.jsonl")]
    assert len(later) == 23  # the alphas rest in the first epoch
    for label, average in parts["term1"]["average"].items():
        expected = np.array(first[label])
        for row in later:
            expected = 0.9 * expected + 0.1 * np.array(row[label])
        np.testing.assert_allclose(average.numpy(), expected, atol=1e-5)


def test_the_task_trains_and_its_psnr_is_that_of_scipy_and_scikit_image(followed):
    (restored, blurred), logged = json.loads(followed.measured)
    assert logged["psnr"] == pytest.approx(restored, abs=1e-3)
    assert logged["blurred_psnr"] == pytest.approx(blurred, abs=1e-3)
    assert restored != pytest.approx(blurred, abs=1e-2), "the network does nothing"
    assert followed.printed["deblurring.onnx"].count("largest difference to PyTorch") == 3
    for name in ("deblurring_search", "deblurring_train"):
        report = (followed.folder / f"experiments/{name}/report.html").read_text(encoding="utf-8")
        assert "PSNR on the validation images" in report
    found = json.loads(
        (followed.folder / "experiments/deblurring_search/genotype.json").read_text()
    )
    trained = json.loads(
        (followed.folder / "experiments/deblurring_train/genotype.json").read_text()
    )
    assert found["space"] == "sharpener"
    assert found["choices"] == trained["choices"]


def test_the_metric_is_scikit_images_in_the_json_and_stands_in_the_table(followed):
    (result,) = json.loads((followed.folder / "nrmse.json").read_text())["results"]
    assert result["metrics"] == ["psnr", "nrmse"]
    values = []
    for pair in packaged_pairs("test"):
        hr = read_rgb(pair.hr)
        hr = hr[: len(hr) // 2 * 2, : hr.shape[1] // 2 * 2]
        sr = resize_uint8(resize_uint8(hr, 0.5), 2)
        values.append(100 * normalized_root_mse(hr[2:-2, 2:-2], sr[2:-2, 2:-2]))
    assert result["bicubic"]["nrmse"] == pytest.approx(np.mean(values))
    printed = followed.printed["nrmse"]
    assert f"{result['nrmse']:.2f}" in printed
    assert "lower is better: NRMSE, %" in printed


def test_the_exported_module_computes_what_the_release_computed_without_srnas(followed):
    checkout = followed.folder
    assert followed.printed["imdn.ts"].count("largest difference to PyTorch") == 3
    run(checkout, "-c", RUN_SCRIPT)
    models = ROOT / "tests/compatibility/v0_1_0/models"
    of_release = np.load(models / "imdn.npy")
    np.testing.assert_allclose(np.load(checkout / "imdn_16.npy"), of_release, atol=1e-5)
    image = np.random.default_rng(0).random((2, 3, 5, 33), dtype=np.float32)
    with torch.no_grad():
        expected = srnas.load(models / "imdn.safetensors").network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(np.load(checkout / "imdn_5.npy"), expected, atol=1e-5)


def test_every_recipe_works_from_outside_the_package_as_a_plugin(outside, tmp_path):
    lines = [line for title in RECIPES for line in commands(title, plugin=True)]
    assert len(lines) == len(RECIPES)
    printed = run(outside, "-c", COMMANDS, str(ROOT / "srnas"), *lines, package=ROOT)
    assert "GMACs, LR 1280x720" in printed
    assert "name: inertia" in printed
    assert "name: sharpener" in printed
    assert "lower is better: NRMSE, %" in printed
    assert printed.count("largest difference to PyTorch") == 3
    assert (outside / "model.ts").is_file()
