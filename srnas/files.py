"""Write files atomically, and read them without executing anything that they contain."""

import gzip
import io
import json
import os
import pickle
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml

from srnas.errors import UserError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file completely or not at all, and make its folder if it is missing.

    The content goes to a temporary file in the same folder, which is synced to disk and renamed.

    Args:
        path: The file; an existing one is replaced.
        content: The bytes, or text to be encoded as UTF-8.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's mode 0600 is not what users expect
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    write_atomic(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from error


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        UserError: The file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Raises:
        UserError: The file is missing, not YAML (the message names the line), or not a mapping.
    """
    try:
        content = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise UserError(f"{file}:{line} {problem}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected keys with values, found {type(content).__name__}")
    return content


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON Lines file (gzipped if its name ends in .gz).

    Reading stops at the first line that is not JSON, which drops a last line cut short by a
    crash.

    Returns:
        The rows; an empty list if the file does not exist.

    Raises:
        UserError: A gzipped file is broken.
    """
    rows: list[dict[str, Any]] = []
    if not Path(path).exists():
        return rows
    for line in _read_maybe_gzipped(Path(path)).splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines, atomically, gzipped if the file's name ends in .gz.

    Equal rows give equal bytes.
    """
    text = "".join(json.dumps(row) + "\n" for row in rows)
    zipped = Path(path).suffix == ".gz"
    write_atomic(path, gzip.compress(text.encode(), mtime=0) if zipped else text)


def _read_maybe_gzipped(path: Path) -> str:
    if path.suffix != ".gz":
        return read_text(path)
    try:
        return gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzipped file ({error})") from error


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Save a dict of tensors and plain values with `torch.save`, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_tensors(path: Path) -> Any:
    """Load onto the CPU what `torch.save` wrote, with `weights_only=True`.

    No code in the file is ever executed.

    Raises:
        UserError: The file is missing, broken, or a pickle that would execute code.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it is not a PyTorch weight file"
        if "weights_only" in str(error).lower() or "GLOBAL" in str(error):
            reason = "it holds Python objects besides tensors, which could execute code"
        raise UserError(
            f"{path}: not loaded, {reason}; ask its author for a plain state dict or safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: broken or truncated weight file ({first})") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
