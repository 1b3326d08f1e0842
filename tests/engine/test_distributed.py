"""Two processes under torchrun take the steps that one process takes."""

import subprocess
import sys

import pytest
import torch

from srnas.distributed import choose_device
from srnas.errors import UserError
from srnas.files import load_tensors
from tests.helpers import search_options, srnas, train_options, write_options

PLAIN = ["conv_3x3", "conv_5x5", "ds_conv_3x3"]  # BatchNorm sees each process's share alone


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
    together = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *("-m", "srnas", command, "-opt", str(file), "name=two"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert together.returncode == 0, together.stderr
    one, two = (
        load_tensors(tmp_path / "experiments" / name / "checkpoints/last.pt")["parts"][part]
        for name in ("one", "two")
    )
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=1e-4, msg=key)


def test_a_device_that_is_not_there_is_told():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cuda:97", "gpu"):
        with pytest.raises(UserError, match=f"device: '{name}' is not available here"):
            choose_device(name)
