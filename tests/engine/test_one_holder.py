"""Two processes never write into one run folder; real processes."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist

import srnas
from srnas.distributed import Process
from srnas.engine.run import LOCK, open_run
from srnas.engine.train import train
from srnas.files import write_atomic
from srnas.lock import hold
from srnas.options import check_options
from tests.helpers import (
    FORKSERVER,
    assert_same_run,
    search_options,
    start,
    train_options,
    wait_for_step,
    write_options,
)
from tests.helpers import srnas as command_line


def steps(run, file="metrics.jsonl"):
    return [json.loads(line)["step"] for line in (run / file).read_text().splitlines()]


def test_of_two_simultaneous_starts_one_searches(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", search_options(tmp_path, photo_folder))
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda _: command_line("search", "-opt", file), range(2)))
    won, lost = sorted(ended, key=lambda one: one.returncode)
    assert (won.returncode, lost.returncode) == (0, 2), (won.stderr, lost.stderr)
    assert "is in use by another srnas process" in lost.stderr or "this run exists" in lost.stderr
    run = tmp_path / "experiments/search"
    assert steps(run, "alphas.jsonl") == [5, 10, 15, 20]
    assert {"genotype.json", "report.html"} <= set(os.listdir(run))


def refused_while_it_stands_still(process, run, step, *command):
    """Run a command while a process is stopped in the middle of a run."""
    wait_for_step(run, process, step)
    process.send_signal(signal.SIGSTOP)
    try:
        refused = command_line(*command)
    finally:
        process.send_signal(signal.SIGCONT)
    assert refused.returncode == 2, refused.stderr
    (told,) = refused.stderr.splitlines()
    assert told == (
        f"error: {run}: is in use by another srnas process (pid {process.pid}); wait for it or "
        "give another name=..."
    )
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told


def test_a_second_start_and_a_second_resume_are_refused_and_change_nothing(tmp_path, photo_folder):
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder, steps=60))
    run, again = tmp_path / "experiments/train", ("train", "-opt", file)
    refused_while_it_stands_still(start("train", file), run, 8, *again)

    other = f"experiments={tmp_path / 'killed'}"
    killed = tmp_path / "killed/train"
    process = start("train", file, other)
    wait_for_step(killed, process, 8)
    process.kill()
    process.communicate()
    resumed = start("train", file, other, "--resume")
    refused_while_it_stands_still(resumed, killed, 20, *again, other, "--resume")
    assert_same_run(run, killed)


def test_a_run_is_free_again_after_an_error_and_after_its_end(tmp_path, photo_folder):
    options = check_options("train", train_options(tmp_path, photo_folder, steps=4), "test")
    lock = options.folder / LOCK
    seen = []

    def fails(folder):
        with pytest.raises(srnas.UserError, match="in use"), hold(lock, folder, "wait"):
            pass
        seen.append(sorted(os.listdir(folder)))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as kept:
        train(options, report=fails)
    assert "model.safetensors" in seen[0]
    train(options, resume=True)  # while `kept` keeps all frames
    assert kept.tb is not None
    assert train(options, resume=True).is_file()


def open_twice(rank, options, folder):
    """Open a run as one of two processes, twice, and write down what came of it."""
    place = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    checked, process = (
        check_options("train", options, "test"),
        Process(torch.device("cpu"), rank, 2),
    )
    for attempt in range(2):
        try:
            with open_run("train", checked, process, resume=False):
                told = "opened"
        except srnas.UserError as error:
            told = str(error)
        write_atomic(folder / f"told-{attempt}-{rank}", told)
        wait_for([folder / "free"])


def wait_for(files):
    deadline = time.monotonic() + 300
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [file.read_text() for file in files]


def test_all_processes_of_a_distributed_run_are_told(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder)
    folder = tmp_path / "experiments/train"
    ranks = [
        FORKSERVER.Process(target=open_twice, args=(rank, options, tmp_path), daemon=True)
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    with hold(folder / LOCK, folder, "wait"):
        assert wait_for([tmp_path / f"told-0-{rank}" for rank in range(2)]) == 2 * [
            f"{folder}: is in use by another srnas process (pid {os.getpid()}); wait for it or "
            "give another name=..."
        ]
        assert not (folder / "options.yml").exists()
    (tmp_path / "free").write_text("")
    assert wait_for([tmp_path / f"told-1-{rank}" for rank in range(2)]) == 2 * ["opened"]
    for rank in ranks:
        rank.join(timeout=60)
