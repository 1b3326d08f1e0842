"""docs/shrinking.md: its commands, its Python and its options work."""

import re
import shlex

import numpy as np
import pytest
import yaml
from PIL import Image

import srnas as api
from srnas.data.packaged import packaged_pairs
from srnas.files import read_json, read_json_lines
from srnas.model_file import load_model, save_model
from srnas.options import check_options
from tests.helpers import ROOT, srnas

PAGE = (ROOT / "docs/shrinking.md").read_text()
BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as the page has it, with a small network for IMDN."""
    model = load_model(ROOT / "tests/compatibility/v0_1_0/models/imdn.safetensors")
    save_model(tmp_path / "IMDN_x2.pth", model)
    (tmp_path / "photos").mkdir()
    for pair in packaged_pairs("train")[:4]:
        photo = Image.open(pair.hr).convert("RGB").crop((0, 0, 160, 120))
        photo.save(tmp_path / "photos" / f"{pair.name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_runs_with_short_lengths(folder):
    (block,) = (block for language, block in BLOCKS if language == "bash")
    _, *arguments = shlex.split(block)
    for option, value in (("--minutes", None), ("--speedup", "--params")):
        place = arguments.index(option)
        arguments[place : place + 2] = [value, "4500"] if value else []
    short = ["--steps", "1", "--fit-steps", "1", "--threads", "1"]
    done = srnas(*arguments, *short)
    assert done.returncode == 0, done.stderr
    assert load_model(folder / "experiments/imdn_half/model.safetensors").genotype.choices


def test_the_function_takes_these_arguments(folder, monkeypatch):
    (block,) = (block for language, block in BLOCKS if language == "python")
    given = {}
    monkeypatch.setattr(api, "shrink", lambda **options: given.update(options), raising=False)
    exec(compile(block, "docs/shrinking.md", "exec"), {})
    budget = {"speedup": None, "params": 4500}
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    short = {**given, **budget, "steps": 1, "fit_steps": 1, "threads": 1}
    assert api.shrink(**short).folder.name == "imdn_half"


def test_a_search_has_the_options_of_the_page(folder):
    (block,) = (block for language, block in BLOCKS if language == "yaml")
    content = yaml.safe_load(block)
    options = check_options("search", {**content, **SEARCH}, "docs/shrinking.md")
    assert options.init.name == "IMDN_x2.pth"
    assert options.teacher.hr_weight == 0


def test_the_figures_of_the_page_are_the_stored_ones():
    stored = read_json(ROOT / "datasets/imdn_x2_shrink.json")
    half = PAGE.partition("## Half")[2].partition("## Other")[0]
    rows = [line.split(" | ") for line in half.splitlines() if line.startswith("| ")][2:]
    base = stored["rows"][0]["ms"]
    for cells, row in zip(rows, stored["rows"], strict=True):
        quality = [row["quality"][name] for name in ("Set5", "Set14")]
        assert cells[1:4] == [f"{row['params']:,}", f"{row['ms']:.1f}", f"{base / row['ms']:.2f}"]
        assert [float(cell) for cell in cells[4:6]] == [round(psnr, 3) for psnr, _ in quality]
    assert f"by {stored['sums']['pearson']:.3f} (" in PAGE


def test_the_figures_against_chance_are_the_stored_ones():
    part = " ".join(PAGE.partition("against chance\n")[2].partition("\n## ")[0].split())
    rows = {row["name"]: row for row in read_json_lines(ROOT / "datasets/imdn_x2_chance.jsonl")}
    drawn = [row for name, row in rows.items() if name.startswith("random")]
    for name in ("Set5", "Set14"):
        values = [row["psnr"][name] for row in drawn]
        for value in (np.mean(values), np.std(values, ddof=1), max(values)):
            assert f"{value:.3f}" in part
        assert f"{rows['chosen']['psnr'][name]:.3f}" in part
    for name in ("sa", "sac", "uniform rest=16, stream 0", "uniform rest=16, stream 1"):
        row = rows[name]
        assert f"{row['psnr']['Set5']:.3f} dB at {row['speedup']:.2f} times" in part
    sums = [row["predicted_loss"] for row in drawn]
    for key in ("loss", "distilled_loss"):
        assert f"by {np.corrcoef(sums, [row[key] for row in drawn])[0, 1]:.3f}" in part


def test_the_figures_of_the_other_runs_are_the_stored_ones():
    other = PAGE.partition("## Other")[2].partition("\n## ")[0]
    shown = [line.strip("| ").split(" | ") for line in other.splitlines() if line.startswith("| ")]
    stored = read_json_lines(ROOT / "datasets/shrink_runs.jsonl")
    for cells, row in zip(shown[2:], stored, strict=True):
        before, after = (row["psnr"][stage] for stage in ("original", "distilled"))
        assert cells == [
            row["name"],
            f"{row['steps']:,}",
            f"{row['precision']}, {row['form']}",
            f"{row['ms'][0]:.1f} to {row['ms'][2]:.1f}",
            "{:,} to {:,}".format(*row["params"]),
            *(f"{before[name]:.3f} to {after[name]:.3f}" for name in ("Set5", "Set14")),
        ]


SEARCH = {
    "name": "s", "epochs": 1, "steps_per_epoch": 1,
    "weight_optimizer": {"lr": 1e-3}, "alpha_optimizer": {"lr": 1e-3},
}  # fmt: skip
