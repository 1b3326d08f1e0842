"""Worker processes that each append the results of their jobs to a file of their own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from srnas.errors import Interrupted, UserError, describe
from srnas.files import append_line, finish_lines
from srnas.plugins import load_plugin, loaded_plugins
from srnas.progress import Progress

WAIT = 2.0  # seconds between two looks at what the workers have written
Work = Callable[[Any, Any], str]  # (what `setup` returned, a job) -> a line of JSON


def run_jobs(
    jobs: Sequence[Any],
    files: Sequence[Path],
    setup: Callable[..., Any],
    given: tuple[Any, ...],
    work: Work,
    label: str,
) -> None:
    """Do jobs in as many processes as there are files.

    Worker w does jobs w, w + n, ... of the n workers. It appends the line of each job to its file
    when the job is done; a line that a crash cut short is dropped first.

    Args:
        files: File of each worker, in an existing folder.
        setup: Called once in each worker, with the arguments `given`.
        given: Arguments of `setup`.
        work: Called for each job with what `setup` returned.

    Raises:
        UserError: A worker failed.
    """
    for file in files:
        finish_lines(file)
    before = sum(map(_count, files))
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    plugins = [*loaded_plugins.values()]
    workers = [
        context.Process(
            target=_work, args=(jobs[w :: len(files)], file, setup, given, work, stop, plugins)
        )
        for w, file in enumerate(files)
    ]
    with _ignoring(signal.SIGINT):  # Ctrl-C reaches the workers, too, but this process ends them
        for worker in workers:
            worker.start()
    try:
        with Progress(len(jobs)) as progress:
            said = -1
            while any(worker.is_alive() for worker in workers):
                for worker in workers:
                    worker.join(WAIT / len(workers))
                done = sum(map(_count, files)) - before
                if done != said:
                    progress.advance(done)
                    progress.say(label)
                    said = done
    finally:
        stop.set()  # a job that is about to end may miss the signal
        for worker in workers:
            worker.terminate()
        for worker in workers:  # they save; what this process holds stays held until then
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise UserError(f"a worker failed, see above; {files[0].parent} keeps what is done")


def _count(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


@contextmanager
def _ignoring(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal in the processes that the block starts, and as long as it runs in this one.

    Nothing changes outside the main thread, where Python cannot handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def _work(
    jobs: Sequence[Any],
    file: Path,
    setup: Callable[..., Any],
    given: tuple[Any, ...],
    work: Work,
    stop: Event,
    plugins: Sequence[Path],
) -> None:
    import torch

    torch.set_num_threads(1)
    parent = os.getppid()
    try:
        for plugin in plugins:
            load_plugin(plugin)
        state = setup(*given)
        for job in jobs:
            if stop.is_set() or os.getppid() != parent:  # or the parent was killed
                return
            append_line(file, work(state, job))
    except (UserError, OSError) as error:
        reason = error if isinstance(error, UserError) else describe(error)
        print(f"error: {reason}", flush=True)
        raise SystemExit(2) from error
    except Interrupted as stopped:
        print(stopped, flush=True)
        raise SystemExit(128 + stopped.number) from None
