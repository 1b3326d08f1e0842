"""README and documentation: commands that exist, options that load, Python that runs."""

import json
import re
import shlex
import shutil

import cv2
import pytest
import yaml
from typer.main import get_command

from srnas.cli import build_app, plugins_first
from srnas.cli.arguments import split_file
from srnas.data.bicubic import resize_uint8
from srnas.data.images import read_rgb
from srnas.data.packaged import packaged_pairs
from srnas.methods import load_method
from srnas.options import SearchOptions, kinds, load_options
from tests.helpers import ROOT, srnas

PAGES = ["README.md", "CONTRIBUTING.md", "datasets/README.md"]
PAGES += [str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").glob("*.md"))]
OWN = re.compile(
    r"mine|settle|deblurring|tsallis|nrmse|space='\{name: tiny\}'"
)  # made on the page itself


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of srnas's in the shell blocks of all pages."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(srnas|torchrun .* -m srnas) ", line):
                    found.append((page, "srnas " + line.partition("srnas ")[2]))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_has_arguments_that_exist(page, line):
    arguments = plugins_first(shlex.split(line, comments=True)[1:])
    command = get_command(build_app())
    context = command.make_context("srnas", arguments)
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    given = context.params
    if name in kinds() and (given.get("opt") or given.get("overrides")) and not OWN.search(line):
        file, overrides = split_file(given["opt"], given["overrides"])
        more = {"model": "m"} if name == "test" else {}
        load_options(name, file, overrides, more)


def test_the_pages_have_commands():
    assert len(commands()) > 60


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, shared, photo):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments/demo").mkdir(parents=True)
    model = ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors"
    shutil.copy(model, tmp_path / "experiments/demo/model.safetensors")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/Set5").symlink_to(shared / "data/Set5")
    space = 'threads=1, space={"name": "imdn", "num_feat": 16, "num_block": 1}'
    (block,) = blocks("README.md", "python")
    assert block in blocks("docs/index.md", "python")
    block = block.replace(
        "seed=1)", f"seed=1, epochs=1, steps_per_epoch=2, warmup_epochs=0, {space})"
    )
    block = block.replace("genotype=found.genotype)", f"genotype=found.genotype, steps=2, {space})")
    names = {"photo": photo[:40, :50]}
    exec(block, names)
    assert names["sr"].shape == (80, 100, 3)
    assert 10 < names["figures"]["psnr"] < 50
    assert names["trained"].model.genotype == names["found"].genotype
    assert names["network"].task == "super_resolution"


def test_the_quick_start_works(tmp_path, monkeypatch, photo_folder):
    monkeypatch.chdir(tmp_path)
    shutil.copy(sorted(photo_folder.iterdir())[0], tmp_path / "photo.jpg")
    model = ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors"
    for name in ("model.safetensors", "IMDN_x2.pth"):  # the test has no published weights
        shutil.copy(model, tmp_path / name)
    short = {
        "search": ["epochs=1", "steps_per_epoch=2", "warmup_epochs=0", "val_every_epochs=1"],
        "train": ["steps=2", "val_every=2"],
    }
    small = ["space.num_feat=16", "space.num_block=1", "data.batch_size=1", "data.hr_patch=24"]
    ran = [line for page, line in commands() if page == "docs/index.md"]
    ran = [line for line in ran if not line.startswith("srnas demo")]
    for line in ran:
        arguments = shlex.split(line, comments=True)[1:]
        more = [*small, *short[arguments[0]]] if arguments[0] in short else []
        done = srnas(*arguments, *more)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "mine/photo_x2.png").exists()
    assert (tmp_path / "comparison.html").exists() or list(tmp_path.rglob("comparison.html"))


def test_the_space_of_the_documentation_is_searched_as_a_plugin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("docs/extending.md", "python") if "class Tiny" in block)
    (tmp_path / "tiny.py").write_text(block)
    (line,) = (line for _, line in commands() if "tiny.py -opt" in line)
    done = srnas(*shlex.split(line)[1:], "epochs=1", "steps_per_epoch=2", "warmup_epochs=0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "experiments/search/genotype.json").exists()


def test_the_metric_of_the_documentation_is_measured_as_a_plugin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in blocks("docs/extending.md", "python") if "class Error" in block)
    (tmp_path / "error.py").write_text(block)
    (line,) = (line for _, line in commands() if "--plugin error.py" in line)
    done = srnas(*shlex.split(line)[1:], "--json", "o.json")
    assert done.returncode == 0, done.stderr
    assert "lower is better: Error, levels of 255" in done.stdout
    expected = []
    for pair in packaged_pairs("test"):
        hr = read_rgb(pair.hr)
        hr = hr[: len(hr) // 2 * 2, : hr.shape[1] // 2 * 2]
        sr = resize_uint8(resize_uint8(hr, 0.5), 2)
        expected.append(cv2.norm(hr[2:-2, 2:-2], sr[2:-2, 2:-2], cv2.NORM_L1) / hr[2:-2, 2:-2].size)
    (result,) = json.loads((tmp_path / "o.json").read_text())["results"]
    assert result["bicubic"]["error"] == pytest.approx(sum(expected) / len(expected))


def test_the_method_of_the_documentation_is_one(tmp_path):
    (block,) = (block for block in blocks("docs/searching.md", "yaml") if "about" in block)
    (tmp_path / "my_method.yml").write_text(block)
    assert load_method(tmp_path / "my_method.yml", SearchOptions.model_fields).about["title"]
    done = srnas("check", tmp_path / "my_method.yml")
    assert "valid options for srnas search, as a method" in done.stdout


def test_every_yaml_block_is_yaml():
    for page in PAGES:
        for block in blocks(page, "yaml"):
            assert yaml.safe_load(block), (page, block)


def test_every_file_that_the_pages_name_exists():
    for page in PAGES:
        for path in set(
            re.findall(
                r"\b(?:options|tools|datasets|srnas|tests)/[\w/]+\.(?:yml|sh|md|py)",
                (ROOT / page).read_text(),
            )
        ):
            made = re.search(
                r"tiny|deblurring|torchscript|tsallis|settle|inertia|sharp|nrmse", path
            )
            assert made or (ROOT / path).exists(), (page, path)
