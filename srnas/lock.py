"""One process at a time: locks of what two processes would spoil by writing it, as a run folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from srnas.errors import UserError, WriteError


@contextmanager
def hold(file: Path, what: Path, instead: str) -> Iterator[None]:
    """Hold a lock file while the block runs.

    The operating system frees the lock when the process ends, however it ends. Meanwhile,
    FILE.holder beside the lock file names the holder for other processes.

    Args:
        file: The lock file. It is made, with its folder, and stays.
        what: What the lock is for, for the error message.
        instead: What to do other than wait, for the error message.

    Raises:
        UserError: Another process, or another run of this one, holds it; there is no waiting.
        WriteError: The lock file cannot be made.
    """
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(in_use(file, what, instead)) from None
    except OSError as error:
        raise WriteError(f"{what}: cannot be written ({error.strerror or error})") from error
    note = _note(file)
    try:
        with suppress(OSError):  # it only improves a message
            note.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def in_use(file: Path, what: Path, instead: str) -> str:
    """Return the message that another process holds a lock file, see `hold`."""
    try:
        number, node = _note(file).read_text(encoding="utf-8").split()
        holder = f" (pid {number})" if node == platform.node() else f" (pid {number} on {node})"
    except (OSError, ValueError):
        holder = ""
    return f"{what}: is in use by another srnas process{holder}; wait for it or {instead}"


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.holder")
