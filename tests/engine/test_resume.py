"""Runs killed with SIGKILL, in real processes, resume to the bit-identical result."""

import signal
import time

import pytest

from srnas.files import load_tensors
from tests.helpers import (
    LOGS,
    class_options,
    class_train_options,
    killed_and_resumed,
    search_options,
    srnas,
    start,
    train_options,
    write_options,
)

ADMM_AND_FIMT = [
    "update_rule={name: fimt, threshold: 100}",
    "regularizers=[{term: admm, weight: 0.1}]",
    "perturbation=random",
]
DROP_PATH = [
    "steps=24",
    "space.auxiliary=true",
    "data.dataset.side=32",
    "data.cutout=4",
    "drop_path={name: linear, start: 0, end: 0.2}",
    "checkpoint_every=3",
    "log_every=2",
]


@pytest.mark.parametrize(
    ("command", "make", "more"),
    [
        ("search", search_options, []),
        ("search", search_options, ["partial_channels=2", "clip_grad_norm=1.0"]),
        ("search", search_options, ["method=drnas_progressive", "space.num_feat=16"]),
        ("search", search_options, ["method=snas", *ADMM_AND_FIMT]),
        ("search", lambda t, _: class_options(t), ["method=single_darts"]),
        ("train", train_options, ["space.num_block=2", "reparameterize=rep_mbconv"]),
        ("train", lambda t, _: class_train_options(t, "darts"), [*DROP_PATH]),
    ],
    ids=["search", "partial", "progressive", "stateful", "classes", "train", "train-classes"],
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, photo_folder, command, make, more):
    file = write_options(tmp_path / "o.yml", make(tmp_path, photo_folder))
    killed_and_resumed(command, file, tmp_path, *more)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, photo_folder, number, code):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder))
    more = ["steps=4000", "checkpoint_every=100000", "val_every=4000"]
    process = start("train", file, *more)
    wait_for_log = tmp_path / "experiments/train/metrics.jsonl"
    while not wait_for_log.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "continue with --resume" in told
    assert "Traceback" not in told
    step = load_tensors(tmp_path / "experiments/train/checkpoints/last.pt")["step"]
    assert f"stopped at step {step} of 4000" in told


def test_a_finished_run_resumes_to_itself(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder, steps=4))
    assert srnas("train", "-opt", file).returncode == 0
    run = tmp_path / "experiments/train"
    before = {name: (run / name).read_bytes() for name in LOGS if (run / name).exists()}
    assert srnas("train", "-opt", file, "--resume").returncode == 0
    assert before == {name: (run / name).read_bytes() for name in before}


def test_a_search_stops_once_its_genotype_stays(tmp_path, photo_folder):
    options = search_options(
        tmp_path, photo_folder, epochs=50, stop_after_stable_epochs=2, val_every_epochs=0,
        alpha_optimizer={"lr": 0.0},
    )  # fmt: skip
    done = srnas("search", "-opt", write_options(tmp_path / "o.yml", options))
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "experiments/search/alphas.jsonl").read_text().splitlines()
    assert len(rows) == 3, "one epoch of warm-up, then two without a change"
    assert "unchanged for 2 epochs" in done.stderr
    again = srnas("search", "-opt", tmp_path / "o.yml", "--resume")
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "experiments/search/alphas.jsonl").read_text().splitlines()) == 3
