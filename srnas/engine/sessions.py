"""sessions.jsonl: time, machine and versions of each start of a run."""

import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from srnas.files import read_json_lines, write_json_lines
from srnas.machine import machine
from srnas.version import __version__

FILE = "sessions.jsonl"


class Session:
    """This process's row in the sessions of a run.

    The row has "began" and "ended" (ISO 8601, UTC), "machine", "processes" and "versions". "ended"
    is renewed with every checkpoint, so a killed run has it, too.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path, device: torch.device, processes: int) -> None:
        self.file = folder / FILE
        self._before = read_json_lines(self.file)
        self._row: dict[str, Any] = {
            "began": _now(),
            "ended": None,
            "machine": machine(device),
            "processes": processes,
            "versions": versions(),
        }

    def write(self) -> None:
        """Write the row, with this moment as its end; WriteError if the file cannot be written."""
        self._row["ended"] = _now()
        write_json_lines(self.file, [*self._before, self._row])


def versions() -> dict[str, str]:
    """Return the software versions that a result depends on, by package."""
    return {"srnas": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
