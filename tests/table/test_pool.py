"""Worker processes stop when their parent is asked to."""

import os
import signal
import time
from pathlib import Path

from srnas.table.pool import run_jobs
from tests.helpers import FORKSERVER

JOBS = 100


def nothing():
    return None


def stubborn(state, job):
    """A job that misses SIGTERM, as one does that is about to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(0.2)
    return str(job)


def main(folder):
    files = [Path(folder) / f"{worker}.jsonl" for worker in range(2)]
    run_jobs(range(JOBS), files, nothing, (), stubborn, "test")


def test_a_job_that_misses_the_signal_is_the_last_of_its_worker(tmp_path):
    process = FORKSERVER.Process(target=main, args=(tmp_path,))
    process.start()

    def lines():
        return sum(file.read_bytes().count(b"\n") for file in tmp_path.glob("*.jsonl"))

    while not lines() and process.is_alive():
        time.sleep(0.02)
    assert lines()
    os.kill(process.pid, signal.SIGINT)  # to the parent alone
    before = lines()
    process.join(60)
    assert process.exitcode
    assert lines() <= before + 4, "a worker went on with its other jobs"
    done = lines()
    time.sleep(0.5)
    assert lines() == done, "a worker outlived its parent"
