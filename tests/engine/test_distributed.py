"""Several processes take the steps that one process takes."""

import socket
import subprocess
import sys
from unittest import mock

import pytest
import torch

from srnas.choice.edges import drop_path
from srnas.distributed import choose_device, draw_samples
from srnas.engine.checkpoint import Meter, restore
from srnas.engine.run import Loop
from srnas.engine.search import search
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.files import load_tensors, read_json, read_json_lines
from srnas.options import check_options
from tests.helpers import (
    Started,
    class_options,
    class_train_options,
    in_two,
    search_options,
    srnas,
    train_options,
    write_options,
)

PLAIN = ["conv_3x3", "conv_5x5", "ds_conv_3x3"]
NORMED = ["conv_3x3_bn", "conv_5x5", "ds_conv_3x3_bn"]
SPACE = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}


def by_torchrun(*arguments):
    """Run srnas in two processes that torchrun starts."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "srnas", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def as_torchrun_does(*arguments):
    """Run srnas in two processes with the variables that torchrun sets; they start faster."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [
        Started(arguments, {**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")
    ]
    for rank in ranks:
        _, told = rank.communicate()
        assert rank.returncode == 0, told


@pytest.mark.parametrize(
    ("command", "make", "part"),
    [("search", search_options, "supernet"), ("train", train_options, "network")],
)
def test_two_processes_do_what_one_does(tmp_path, photo_folder, command, make, part):
    options = make(tmp_path, photo_folder, device="cpu")
    options["space"]["candidates"] = PLAIN
    file = write_options(tmp_path / "o.yml", options)
    alone = srnas(command, "-opt", file, "name=one")
    assert alone.returncode == 0, alone.stderr
    if command == "search":
        by_torchrun(command, "-opt", str(file), "name=two")
    else:
        as_torchrun_does(command, "-opt", file, "name=two")
    one, two = (
        load_tensors(tmp_path / "experiments" / name / "checkpoints/last.pt")["parts"][part]
        for name in ("one", "two")
    )
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=1e-4, msg=key)


class Killed(Exception):  # noqa: N818  (not an error)
    """What ends a run in the middle."""


def run(rank, kind, options, resume=False, until=None):
    """Search or train in this process; with `until`, only to the end of that step."""
    close_step = Loop.done

    def done(loop, step, *rest, **named):
        close_step(loop, step, *rest, **named)
        if step == until:
            raise Killed

    work = {"search": search, "train": train}[kind]
    with mock.patch.object(Loop, "done", done):
        try:
            work(check_options(kind, options, "test"), resume=resume)
        except Killed:
            assert until is not None
    return {}


def on(processes, *given):
    """Run in one or two processes."""
    if processes == 1:
        run(0, *given)
    else:
        in_two(run, *given)


def assert_same_within_rounding(folder, other):
    logs = [
        {log: read_json_lines(place / f"{log}.jsonl") for log in ("metrics", "alphas")}
        for place in (folder, other)
    ]
    for one, two in zip(*(log["metrics"] for log in logs), strict=True):
        assert one == pytest.approx(two, rel=1e-5, abs=1e-5)
    for one, two in zip(*(log["alphas"] for log in logs), strict=True):
        for label, row in one["alphas"].items():
            assert two["alphas"][label] == pytest.approx(row, abs=1e-5), label
        assert one["genotype"] == two["genotype"]
    genotypes = [read_json(place / "genotype.json") for place in (folder, other)]
    assert genotypes[0]["choices"] == genotypes[1]["choices"]


def of_search(tmp_path, photos, **changes):
    short = {"epochs": 2, "steps_per_epoch": 6, "warmup_epochs": 0, "val_every_epochs": 0}
    space = {**SPACE, "candidates": changes.pop("candidates", NORMED)}
    options = search_options(tmp_path, photos, **{**short, "space": space, **changes})
    options["data"]["hr_patch"] = 16
    return "search", options


def of_classes(tmp_path, photos, **changes):
    short = {"epochs": 2, "steps_per_epoch": 6, "warmup_epochs": 0}
    space = {"name": "darts", "num_classes": 4, "num_feat": 4, "num_cell": 3, "space_set": "s4"}
    return "search", {**class_options(tmp_path, **{**short, **changes}), "space": space}


def of_class_training(tmp_path, photos, **changes):
    return "train", class_train_options(tmp_path, "darts", **changes)


WIDER = [{"at": 0.5, "keep": 1, "partial_channels": 1}]
CASES = {
    "batchnorm": (of_search, {"alpha_std": 0.1}),
    "unrolled": (of_search, {"update_rule": "unrolled"}),
    "unrolled exactly": (of_search, {"update_rule": {"name": "unrolled", "gradient": "exact"}}),
    "adversarial": (of_search, {"perturbation": "adversarial", "candidates": PLAIN}),
    "random": (
        of_search,
        {
            "seed": 3,  # half a batch prefers another genotype than the whole
            "update_rule": {"name": "random_sampling", "samples": 30, "batches": 1},
            "relaxation": "uniform_sample",
        },
    ),
    "noise, then wider": (
        of_classes,
        {
            "steps_per_epoch": 3,
            "partial_channels": 2,
            "shrink": WIDER,
            "weight_optimizer": {"name": "sgd", "lr": 0.01},
            "alpha_optimizer": {"name": "sgd", "lr": 0.1},  # Adam enlarges rounding
        },
    ),
    "dropped paths": (
        of_class_training,
        {
            "steps": 8,
            "log_every": 1,
            "val_every": 8,
            # A larger rate enlarges rounding: at 0.01, 3e-5 on processors with AMX.
            "optimizer": {"name": "sgd", "lr": 0.001},
            "drop_path": {"name": "constant", "value": 0.3},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_log_and_choose_what_one_does(tmp_path, photo_folder, case):
    make, changes = CASES[case]
    kind, options = make(tmp_path, photo_folder, device="cpu", **changes)
    for processes in (1, 2):
        on(processes, kind, {**options, "name": f"on{processes}"})
    assert_same_within_rounding(*(tmp_path / "experiments" / f"on{n}" for n in (1, 2)))


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, photo_folder, first, then):
    # The checkpoint of step 9 has half-read means of losses and the states of all generators.
    kind, options = of_search(tmp_path, photo_folder, device="cpu", relaxation="gumbel_softmax")
    whole, stopped = ({**options, "name": name} for name in ("whole", "stopped"))
    on(1, kind, whole)
    on(first, kind, stopped, False, 9)
    checkpoint = tmp_path / "experiments/stopped/checkpoints/last.pt"
    assert load_tensors(checkpoint)["step"] == 9
    on(then, kind, stopped, True)
    assert_same_within_rounding(tmp_path / "experiments/whole", tmp_path / "experiments/stopped")


def test_batchnorm_of_each_process_alone_is_an_option_that_a_run_keeps(tmp_path, photo_folder):
    kind, options = of_search(tmp_path, photo_folder, device="cpu", sync_batchnorm=False)
    in_two(run, kind, {**options, "name": "two"}, False, 6)
    run(0, kind, {**options, "name": "one"}, False, 6)
    one, two = (
        load_tensors(tmp_path / "experiments" / name / "checkpoints/last.pt")["parts"]["supernet"]
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert max((one[k] - two[k]).abs().max() for k in one if k.startswith("alphas")) > 1e-4
    with pytest.raises(UserError, match="sync_batchnorm was False"):
        run(0, kind, {**options, "name": "two", "sync_batchnorm": True}, True)


def measured(rank):
    meter, resumed = Meter(), Meter()
    for value in (0.1 + rank, 0.7):
        meter.add("loss", torch.tensor(value))
    state = meter.state_dict()
    resumed.load_state_dict(state)
    for each in (meter, resumed):
        each.add("loss", torch.tensor(0.3 - rank / 3))
        each.add("alpha_loss", torch.tensor(float(rank)))
    return {"state": state, "means": meter.means(), "resumed": resumed.means()}


def test_means_of_losses_are_over_steps_and_processes():
    parts = in_two(measured)
    assert parts[0]["means"] == parts[1]["means"] == parts[0]["resumed"] == parts[1]["resumed"]
    expected = (0.1 + 0.7 + 0.3 + 1.1 + 0.7 + 0.3 - 1 / 3) / 6
    assert parts[0]["means"] == pytest.approx({"loss": expected, "alpha_loss": 0.5})
    assert parts[0]["state"] == parts[1]["state"]
    assert parts[0]["state"]["sums"]["loss"].item() == pytest.approx((0.8 + 1.8) / 2)


def drawn(rank, count=2):
    torch.manual_seed(3)
    images = torch.ones(8 // count, 3, 4, 4).to(memory_format=torch.channels_last)
    noise = draw_samples(images, torch.randn_like)
    return {"noise": noise, "paths": drop_path(images, 0.5), "state": torch.get_rng_state()}


def test_draws_for_samples_do_not_depend_on_the_number_of_processes():
    alone = drawn(0, count=1)
    for rank, part in enumerate(in_two(drawn)):
        for name in ("noise", "paths"):
            assert torch.equal(part[name], alone[name][rank::2]), name
        assert torch.equal(part["state"], alone["state"])


def restored(rank):
    given = []
    with (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.device_count", return_value=2),
        mock.patch("torch.cuda.set_rng_state", given.append),
    ):
        saved = {"parts": {}, "rng": {"cpu": torch.get_rng_state(), "cuda": ["first", "second"]}}
        restore(saved, {}, None)
    return {"given": given}


def test_every_process_takes_the_state_of_the_device_that_the_primary_one_drew_on():
    assert [part["given"] for part in in_two(restored)] == [["first"], ["first"]]


def test_a_device_that_is_not_there_is_told():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cuda:97", "gpu"):
        with pytest.raises(UserError, match=f"device: '{name}' is not available here"):
            choose_device(name)
