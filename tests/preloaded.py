"""What the server of `tests.helpers.srnas` imports before it forks a process for each command."""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimizer imports it, which takes a second
import torch.fx.experimental.symbolic_shapes  # and an export imports this

import srnas.benchmarks.benchmark
import srnas.engine.analyze
import srnas.engine.train
import srnas.export.write
import srnas.report.page
from srnas.cli import main
from srnas.spaces import SPACES
from srnas.tasks import TASKS

with suppress(ImportError):
    import onnxscript  # noqa: F401  (an export to ONNX imports it)

torch.set_num_threads(1)
LOADED = [*SPACES, *TASKS, srnas]


def run_command(
    command: list[str], folder: str, environment: Mapping[str, str], stdout: str, stderr: str
) -> None:
    """Run a command in this process, its output in two files."""
    _become(folder, environment, stdout, stderr)
    sys.argv = ["srnas", *command]
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _become(folder: str, environment: Mapping[str, str], stdout: str, stderr: str) -> None:
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


def run_script(
    command: list[str], folder: str, environment: Mapping[str, str], stdout: str, stderr: str
) -> None:
    """Run a Python file in this process as `python FILE ARGUMENTS` does; see `run_command`."""
    _become(folder, environment, stdout, stderr)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def run_session(*arguments: Any) -> None:
    """Do `run_command(*arguments)` in a session of its own, to be killed with its children."""
    os.setsid()
    run_command(*arguments)


def watch_changes(place: str, act: Callable[[], None]) -> None:
    """Call `act` just before every change of this process below a place.

    Changes are files that are opened for writing, linked, renamed or removed, and new folders.
    """

    def watch(event: str, given: tuple[object, ...]) -> None:
        if event == "open":
            changes = isinstance(given[2], int) and bool(given[2] & (os.O_WRONLY | os.O_RDWR))
        else:
            changes = event in ("os.link", "os.rename", "os.remove", "os.mkdir")
        if changes and any(str(path).startswith(place) for path in given[:2]):
            act()

    sys.addaudithook(watch)


def run_until(moment: int, place: str, work: Callable[..., object], *arguments: object) -> None:
    """Do `work(*arguments)`, and kill this process just before one of its changes below a place."""
    left = moment

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    watch_changes(place, count)
    work(*arguments)
