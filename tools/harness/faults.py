"""Let the operating system refuse: full, read-only and vanishing folders, for every command.

Each command works in a small file system in memory (tmpfs; mounting it needs root). It must stop
with exit code 2 and one line on standard error. What it had is not lost: once there is room, it
goes on and ends as if nothing had been.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers import search_options, small_model, srnas, train_options, write_options
from tools.harness.work import files_state, photographs, run_state

FULL = (1, 16, 40, 80, 160, 240)  # KiB of the file systems that are too small
ROOM = 64  # MiB

State = Callable[[Path], dict[str, Any]]


class Command:
    """A command that writes below a folder.

    Args:
        arguments: Its arguments, given the folder.
        state: What must be equal in the end.
        again: Arguments that let it go on.
        before: Prepares the folder.
    """

    def __init__(
        self,
        arguments: Callable[[Path], list[object]],
        state: State,
        again: tuple[str, ...] = (),
        before: Callable[[Path], object] | None = None,
    ) -> None:
        self.arguments, self.state, self.again, self.before = arguments, state, again, before

    def run(self, folder: Path, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run it in a folder."""
        return srnas(*self.arguments(folder), *more, timeout=120)


@contextmanager
def mounted(kibibytes: int) -> Iterator[Path]:
    """Mount a file system in memory of a size."""
    with tempfile.TemporaryDirectory() as folder:
        _mount("-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", folder)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def remount(folder: Path, how: str) -> None:
    """Mount a file system anew with other options."""
    _mount("-o", f"remount,{how}", str(folder))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def commands(place: Path) -> dict[str, Command]:
    """Return the commands; `place` is a folder for what they read."""
    photos = photographs(place / "photos")
    model = small_model(place / "model.safetensors")
    search = write_options(place / "search.yml", search_options(place, photos))
    train = write_options(place / "train.yml", train_options(place, photos))
    tree = place / "tree" / "DIV2K_train_HR"
    tree.mkdir(parents=True)
    for number, file in enumerate(sorted(photos.iterdir())[:4], 1):
        shutil.copy(file, tree / f"{number:04}.png")
    done = srnas("search", search, f"experiments={place / 'done'}")
    assert done.returncode == 0, done.stderr

    def copy_run(folder: Path) -> None:
        shutil.copytree(place / "done/search", folder / "search")
        (folder / "search/report.html").unlink()

    def report_state(folder: Path) -> dict[str, Any]:
        return {"report": (folder / "search/report.html").stat().st_size > 10_000}

    return {
        "search": Command(
            lambda f: ["search", search, f"experiments={f}"], run_state, ("--resume",)
        ),
        "train": Command(lambda f: ["train", train, f"experiments={f}"], run_state, ("--resume",)),
        "prepare": Command(
            lambda f: ["data", "prepare", "div2k", tree.parent, "--out", f / "DIV2K"], files_state
        ),
        "export": Command(
            lambda f: ["export", "--model", model, "--out", f / "m.onnx"],
            lambda f: {"onnx": (f / "m.onnx").read_bytes()},
            ("--overwrite",),
        ),
        "upscale": Command(
            lambda f: ["upscale", "--model", model, photos, "--out", f / "out"],
            files_state,
            ("--overwrite",),
        ),
        "report": Command(lambda f: ["report", f / "search"], report_state, before=copy_run),
    }


def main(arguments: list[str] | None = None) -> int:
    """Try all faults, and print what happened; return 1 if one was not held."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    failures = 0
    print(f"{'command':10}{'full':>12}{'read-only':>12}{'vanished':>12}   (held of tried)")
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(Path(folder)).items():
            whole = Path(folder) / f"whole_{name}"
            whole.mkdir()
            if command.before:
                command.before(whole)
            done = command.run(whole)
            assert done.returncode == 0, (name, done.stderr)
            expected = command.state(whole)
            problems = {
                "full": [wrong for size in FULL for wrong in _full(command, expected, size)],
                "read-only": [*_read_only(command, expected)],
                "vanished": [*_vanished(command)],
            }
            cells = []
            for fault, found in problems.items():
                cells.append(f"{sum(p is None for p in found)}/{len(found)}")
                for problem in filter(None, found):
                    failures += 1
                    print(f"  {name}, {fault}: {problem}")
            print(f"{name:10}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    return int(failures > 0)


def _full(command: Command, expected: dict[str, Any], size: int) -> Iterator[str | None]:
    with mounted(size) as folder:
        if command.before:
            remount(folder, f"size={ROOM}m")
            command.before(folder)
            used = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            remount(folder, f"size={used // 1024 + 64 + size}k")
        done = command.run(folder)
        if done.returncode == 0:
            return  # there was room
        yield _told(done)
        remount(folder, f"size={ROOM}m")
        yield _goes_on(command, expected, folder)


def _read_only(command: Command, expected: dict[str, Any]) -> Iterator[str | None]:
    with mounted(ROOM * 1024) as folder:
        if command.before:
            command.before(folder)
        remount(folder, "ro")
        yield _told(command.run(folder))
        remount(folder, "rw")
        yield _goes_on(command, expected, folder)


def _vanished(command: Command) -> Iterator[str | None]:
    """Remove the folder as soon as the command has written something; it may still end well."""
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "folder"
        folder.mkdir()
        if command.before:
            command.before(folder)
        there = set(folder.rglob("*"))
        ended = threading.Event()

        def vanish() -> None:
            while not ended.is_set():
                if set(folder.rglob("*")) - there:
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.write_text("")  # a file where the folder was
                    return
                time.sleep(0.002)

        remover = threading.Thread(target=vanish)
        remover.start()
        try:
            done = command.run(folder)
        finally:
            ended.set()
            remover.join()
        yield None if done.returncode == 0 else _told(done)


def _told(done: subprocess.CompletedProcess[str]) -> str | None:
    """Return what is wrong with how a command has failed, None if nothing is."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    traced = "Traceback" in done.stderr
    if done.returncode == 2 and len(lines) == 1 and not traced:
        return None
    return f"exit code {done.returncode}: {done.stderr.strip()[-300:]!r}"


def _goes_on(command: Command, expected: dict[str, Any], folder: Path) -> str | None:
    done = command.run(folder, command.again)
    if done.returncode:
        return f"does not go on: {done.stderr.strip()[-300:]!r}"
    found = command.state(folder)
    wrong = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
    return f"differs in {sorted(wrong)[:3]}" if wrong else None


if __name__ == "__main__":
    sys.exit(main())
