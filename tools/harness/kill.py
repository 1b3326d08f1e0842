"""Kill work at many moments, let it go on, and compare what it ends with.

The work is searches, trainings, caches, preparations of DIV2K, and tables. Half of the kills come
just before a change of the file system (a file opened for writing, renamed or removed, a new
folder), half at a random time. The work is then called again until it ends, and a third of these
calls are killed, too. It must end with what work ends with that nobody killed, to the bit.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.preloaded import run_until, watch_changes
from tools.harness.work import KINDS, Work, photographs

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tools.harness.work", "tests.preloaded"])


def count_changes(place: str, out: str, work: Work, *arguments: Any) -> None:
    """Do the work, and write the number of its changes below a place into a file."""
    moments: list[None] = []
    watch_changes(place, lambda: moments.append(None))
    work(*arguments)
    Path(out).write_text(str(len(moments)))


class Killer:
    """Kills one kind of work.

    Args:
        kind: A name in `KINDS`.
        place: Folder for all runs.
        seed: Seed of the moments.
    """

    def __init__(self, kind: str, place: Path, seed: int) -> None:
        self.work, self.state = KINDS[kind]
        self.kind, self.place = kind, place
        self.random = random.Random(f"{kind} {seed}")
        self.photos = photographs(place / "photos")
        for split, numbers in (("train", (1, 2, 3)), ("valid", (801,))):
            made = photographs(place / "made", 4)
            folder = place / "tree" / f"DIV2K_{split}_HR"
            folder.mkdir(parents=True)
            for image, number in zip(sorted(made.iterdir()), numbers, strict=False):
                shutil.copy(image, folder / f"{number:04}.png")
        whole, counted = place / "whole", place / "changes"
        began = time.monotonic()
        self._run(count_changes, str(whole), str(counted), self.work, whole, self.photos)
        self.seconds = time.monotonic() - began
        self.changes = int(counted.read_text())
        self.expected = self.state(whole)
        assert self.expected, kind

    def kill(self, number: int) -> tuple[int, str | None]:
        """Kill the work once or more, and let it end.

        Returns:
            The number of kills, and what is wrong with the end, None if nothing is.
        """
        folder = self.place / f"killed{number}"
        folder.mkdir()
        kills = 0
        while kills == 0 or self.random.random() < 1 / 3:
            if number % 2:
                moment = self.random.randint(1, self.changes)
                code = self._run(run_until, moment, str(folder), self.work, folder, self.photos)
            else:
                delay = self.random.uniform(0, self.seconds)
                code = self._run(self.work, folder, self.photos, kill_after=delay)
            if code == 0:
                break  # it ended before
            if code != -signal.SIGKILL:
                return kills, f"exit code {code}"
            kills += 1
        code = self._run(self.work, folder, self.photos)
        if code:
            return kills, f"cannot go on, exit code {code}"
        found = self.state(folder)
        wrong = [k for k in {*found, *self.expected} if found.get(k) != self.expected.get(k)]
        if not wrong:
            shutil.rmtree(folder)
        return kills, f"differs in {sorted(wrong)[:3]}" if wrong else None

    def _run(self, work: Any, *arguments: Any, kill_after: float | None = None) -> int:
        process = SERVER.Process(target=_quiet, args=(work, *arguments))
        process.start()
        process.join(kill_after)
        if process.exitcode is None and kill_after is not None:
            process.kill()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise RuntimeError(f"{self.kind}: hangs")
        return process.exitcode


def _quiet(work: Any, *arguments: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if "HARNESS_SHOW" not in os.environ:
        os.dup2(null, 2)
    work(*arguments)


def main(arguments: list[str] | None = None) -> int:
    """Kill, and print the counts; return 1 if an end was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="runs that are killed, of all kinds")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="repeatable")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    kinds = given.kind or list(KINDS)
    failures = 0
    print(f"{'kind':14}{'runs':>6}{'kills':>7}{'equal':>7}   changes, seconds of a whole run")
    for index, kind in enumerate(kinds):
        runs = given.kills // len(kinds) + (index < given.kills % len(kinds))
        with tempfile.TemporaryDirectory() as folder:
            killer = Killer(kind, Path(folder), given.seed)
            total = equal = 0
            for number in range(runs):
                kills, wrong = killer.kill(number)
                total += kills
                equal += wrong is None
                if wrong:
                    print(f"  {kind} {number}: {wrong}")
        failures += runs - equal
        print(
            f"{kind:14}{runs:6}{total:7}{equal:7}   {killer.changes}, {killer.seconds:.1f}",
            flush=True,
        )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
