"""Checkpoints and logs whose content is not as srnas writes it."""

import json

import pytest
import torch

from srnas.analysis.logs import read_alphas, read_metrics
from srnas.engine.checkpoint import Meter
from srnas.engine.search import search
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import load_tensors, save_tensors
from srnas.options import check_options
from srnas.report.page import write_report
from tests.helpers import class_options, search_options, told, train_options


def trained(tmp_path, photo_folder, **changes):
    options = train_options(tmp_path, photo_folder, steps=4, val_every=4, log_every=1, **changes)
    options = check_options("train", options, "test")
    train(options)
    return options


def test_a_checkpoint_of_other_types_is_told_and_kept(tmp_path, photo_folder):
    options = trained(tmp_path, photo_folder)
    file = options.folder / "checkpoints/last.pt"
    saved = load_tensors(file)
    cases = {
        "a broken checkpoint": [{"step": s} for s in ("x", -1, 1.5, None, True, [1] * 100)],
        "not a checkpoint": [5],
        "this run has 4": [{"step": 5}],
        "broken states of the random generators": [
            {"rng": r} for r in (None, 5, {}, {"cpu": "x", "cuda": []}, {"cpu": torch.zeros(3)})
        ],
        "does not fit this run's network": [
            {"parts": {}},
            {"parts": {**saved["parts"], "notes": {"best": "x"}}},
            {"parts": {**saved["parts"], "notes": [1]}},
            {"parts": {**saved["parts"], "notes": {"quality": {"psnr": [1]}}}},
            {"parts": {**saved["parts"], "meter": {"sums": {"loss": 1.0}, "counts": {"loss": 1}}}},
            {"parts": {**saved["parts"], "data": None}},
        ],
    }
    for why, changes in cases.items():
        for change in changes:
            save_tensors(file, {**saved, **change} if isinstance(change, dict) else change)
            before = file.read_bytes()
            with pytest.raises(UserError, match=rf"^\S+last\.pt: .*{why}") as error:
                train(options, resume=True)
            assert "\n" not in str(error.value)
            assert file.read_bytes() == before
    save_tensors(file, saved)
    assert train(options, resume=True).is_file()


def test_a_first_log_line_that_a_crash_cut_short_is_not_appended_to(tmp_path, photo_folder):
    options = trained(tmp_path, photo_folder)
    whole = (options.folder / "metrics.jsonl").read_bytes()
    (options.folder / "checkpoints/last.pt").unlink()  # it crashed before the first checkpoint
    (options.folder / "metrics.jsonl").write_bytes(whole[:7])
    train(options, resume=True)
    assert (options.folder / "metrics.jsonl").read_bytes() == whole
    write_report(options.folder)


def test_the_means_of_a_meter_survive_a_round_trip():
    meter, again = Meter(), Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add("loss", torch.tensor(value))
    again.load_state_dict(meter.state_dict())
    assert again.means() == {"loss": 3.0}


MUTATIONS = 16
ODD = [None, -1, 2**70, "x", [], {}, [1], {"a": 1}, True]


def leaves(value, path=()):
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def test_odd_logs_are_told_with_their_row_or_do_not_matter(tmp_path, photo_folder):
    options = search_options(tmp_path, photo_folder, epochs=2, steps_per_epoch=2, warmup_epochs=0)
    run = search(check_options("search", options, "test")).parent
    for name, read in (("metrics.jsonl", read_metrics), ("alphas.jsonl", read_alphas)):
        file = run / name
        whole = file.read_text()
        rows = [json.loads(line) for line in whole.splitlines()]
        assert read(file) == rows
        paths = list(leaves(rows[-1]))
        refused = 0
        for number in range(MUTATIONS):
            path = paths[number * len(paths) // MUTATIONS]
            last = changed(rows[-1], path, ODD[number % len(ODD)])
            file.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:-1], last]))
            line = told(write_report, run)
            refused += line is not None
            assert line is None or line.startswith(str(run))
        assert refused > MUTATIONS // 3
        file.write_text(whole)
    assert write_report(run).is_file()


@pytest.mark.parametrize(
    ("log", "row", "why"),
    [
        ("metrics", {"loss": 1.0}, "row 1: step: Field required"),
        ("metrics", {"step": "x"}, "row 1: step: Input should be a valid integer"),
        ("metrics", {"step": 1, "loss": [1]}, "row 1: loss: Input should be a valid number"),
        ("alphas", {"step": 1, "epoch": 0, "genotype": {}}, "row 1: alphas: Field required"),
        (
            "alphas",
            {"step": 1, "epoch": 0, "genotype": {}, "alphas": {"c1": [0, "x"]}},
            r"row 1: alphas\.c1\.1: Input should be a valid number",
        ),
    ],
)
def test_a_row_of_another_form_is_told(tmp_path, log, row, why):
    file = tmp_path / f"{log}.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=rf"{log}\.jsonl: {why}"):
        (read_metrics if log == "metrics" else read_alphas)(file)


def test_alphas_of_two_supernets_in_one_log_are_told(tmp_path):
    row = {"step": 1, "epoch": 0, "genotype": {}, "alphas": {"c1": [0.0, 1.0]}}
    rows = [row, {**row, "alphas": {"c1": [0.0]}}]
    file = tmp_path / "alphas.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="rows 1 and 2 are of different supernets"):
        read_alphas(file)


@pytest.mark.parametrize("done", [-1, True, 1e3, 1 << 60, None, torch.tensor(2)])
def test_a_position_that_is_none_is_told_and_not_searched_for(tmp_path, done):
    # a negative one would loop for ever
    options = check_options("search", class_options(tmp_path, epochs=1), "search")
    file = search(options).parent / "checkpoints/last.pt"
    content = load_tensors(file)
    content["parts"]["train"]["done"] = done
    save_tensors(file, content)
    with pytest.raises(UserError, match=r"last\.pt: does not fit this run.*position in the stream"):
        search(options, resume=True)
