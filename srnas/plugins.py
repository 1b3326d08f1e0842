"""Plugins: Python files whose decorators register components."""

import runpy
import traceback
from pathlib import Path

from srnas.errors import UserError

loaded_plugins: dict[str, Path] = {}  # the files, as they were named


def load_plugin(file: Path) -> None:
    """Run a Python file whose decorators register components.

    Raises:
        UserError: There is no such file, or it raises an exception.
    """
    if not file.is_file():
        raise UserError(f"--plugin {file}: no such file")
    try:
        runpy.run_path(str(file))
    except Exception as error:  # it is the user's code, which may raise anything
        raise UserError(f"--plugin {file}: {fault_of(error, str(file))}") from error
    loaded_plugins[str(file)] = file.absolute()


def fault_of(error: Exception, file: str) -> str:
    """Return the last line of a file that led to an error, and the error's message."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f"line {lines[-1]}: " if lines else ""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"{where}{kind}{error}"
