"""What the server of `tests.helpers.srnas` imports before it forks a process for each command."""

import multiprocessing
import os
import sys
from collections.abc import Mapping

import torch

import srnas.engine.analyze
import srnas.engine.train
import srnas.export.target
import srnas.report.page
import srnas.tasks.super_resolution.benchmark
from srnas.cli import main
from srnas.spaces import SPACES
from srnas.tasks import TASKS

torch.set_num_threads(1)
LOADED = [*SPACES, *TASKS, srnas]


def run_command(
    command: list[str], folder: str, environment: Mapping[str, str], stdout: str, stderr: str
) -> None:
    """Run a command in this process, its output in two files."""
    sys.stdout.flush()
    sys.stderr.flush()
    for number, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # The server's children would start their own ones by it; a command does as its platform does.
    method = "fork" if sys.platform == "linux" else "spawn"
    multiprocessing.set_start_method(method, force=True)
    sys.argv = ["srnas", *command]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
