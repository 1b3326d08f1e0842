"""Locks: one holder at a time, freed however the holder ends."""

import os
import signal
import subprocess
import sys

import pytest

from srnas.errors import UserError
from srnas.lock import hold

HOLDER = """
import sys, time
from pathlib import Path
from srnas.lock import hold

with hold(Path(sys.argv[1]), Path("the folder"), "do another thing"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "run" / ".lock"


@pytest.fixture
def holder(lock):
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take(lock):
    with hold(lock, lock.parent, "wait long"):
        return True


def test_a_lock_that_another_process_holds_is_refused_with_its_pid(lock, holder):
    told = (
        rf"run: is in use by another srnas process \(pid {holder.pid}\); wait for it or wait long"
    )
    for _ in range(2):  # being refused takes nothing from the holder
        with pytest.raises(UserError, match=told):
            take(lock)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_holder_that_is_killed_leaves_no_lock(lock, holder, number):
    holder.send_signal(number)
    holder.wait(timeout=60)
    assert take(lock)
    assert sorted(os.listdir(lock.parent)) == [".lock"]


def test_a_lock_is_held_against_the_same_process_and_freed_by_an_exception(lock):
    kept = None
    try:
        with hold(lock, lock.parent, "wait"):
            with pytest.raises(UserError, match=rf"pid {os.getpid()}"):
                take(lock)
            raise RuntimeError
    except RuntimeError as error:
        kept = error  # as a notebook keeps the last exception, and with it all frames
    assert kept.__traceback__ is not None
    assert take(lock)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: cannot be written \(Not a directory\)"):
        take(tmp_path / "file" / "run" / ".lock")
