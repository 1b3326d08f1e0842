"""Name and write files safely, and read them without executing anything that they contain."""

import gzip
import io
import json
import os
import pickle
import re
import secrets
import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from srnas.documents import load_json, parse_json, parse_yaml
from srnas.errors import UserError, WriteError, first_line

try:
    import fcntl
except ImportError:  # Windows, where temporary files of killed processes stay behind
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255  # bytes; the limit of common file systems
LARGEST_YAML = 16 << 20  # bytes
LARGEST_JSON = 256 << 20  # bytes
LARGEST_TEXT = 1 << 30  # bytes; tables and logs
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)
_UNFINISHED = re.compile(r"(\..+\.)[0-9a-f]{12}\.part")


def file_name(name: str, where: str) -> str:
    """Return a name that comes from data, such as a set's or an archive's, if it can name a file.

    Such a name becomes one component of a path and must not lead out of the path's folder.

    Args:
        where: Where it comes from, for the error message.

    Raises:
        UserError: The name is empty, "." or "..", has a separator or a control character, is longer
            than 255 bytes, or is reserved on Windows.

    >>> file_name("Set5 x2.png", "data")
    'Set5 x2.png'
    >>> file_name("../x", "data")
    Traceback (most recent call last):
    srnas.errors.UserError: data: '../x' cannot name a file (it has a separator); rename it
    """
    if not name:
        reason = "it is empty"
    elif name in (".", ".."):
        reason = "it names a folder"
    elif re.search(r"[/\\]", name) or Path(name).name != name:  # the latter finds Windows' drives
        reason = "it has a separator"
    elif any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name):
        reason = "it has a control character"
    elif len(os.fsencode(name)) > LONGEST_NAME:
        reason = f"it is longer than {LONGEST_NAME} bytes"
    elif _RESERVED.fullmatch(name):
        reason = "Windows reserves it"
    else:
        return name
    shown = name if len(name) <= 80 else f"{name[:60]}..."
    raise UserError(f"{where}: {shown!r} cannot name a file ({reason}); rename it")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is written completely or not at all; its folder is made if it is missing.

    What the block writes goes to a temporary file in the same folder. At the end of the block this
    file is synced to disk and renamed; after an exception it is removed. It is locked meanwhile, so
    that `remove_unfinished` can tell it from one that a killed process left behind.

    Args:
        path: The file; an existing one is replaced.

    Yields:
        The temporary file, open for writing.

    Raises:
        WriteError: The file cannot be written. An OSError that the block raises itself counts as
            one, so a block must turn those of reading into UserErrors.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _temporary(path)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows does not rename an open file
            os.replace(file.name, path)
        except BaseException:
            with suppress(OSError):  # of writing what is still in the buffer
                file.close()
            Path(file.name).unlink(missing_ok=True)
            raise
        file.close()
    except UserError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file completely or not at all, and make its folder if it is missing.

    Args:
        path: The file; an existing one is replaced.
        content: The bytes, or text to be encoded as UTF-8.

    Raises:
        WriteError: The file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def remove_unfinished(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Those of `atomic_file` that another process is writing are kept.

    Args:
        folder: The folder; nothing happens if there is none.
        name: Name of the file that they were to become; None for any.
    """
    files: list[Path] = []
    with suppress(OSError):  # no such folder, or not to be read
        files = list(Path(folder).iterdir()) if fcntl else []
    for file in files:
        match = _UNFINISHED.fullmatch(file.name)
        if not match or (name is not None and match[1] != _prefix(name)):
            continue
        # A file that cannot be locked is still being written, or its file system has no locks.
        with suppress(OSError), open(file, "rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()


def _temporary(path: Path) -> BinaryIO:
    """Return a new file beside `path`, open for writing, with the mode of new files, and locked."""
    while True:
        name = f"{_prefix(path.name)}{secrets.token_hex(6)}.part"
        file = open(path.with_name(name), "xb")  # noqa: SIM115  (the caller closes it)
        if fcntl is None:
            return file
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # `remove_unfinished` came between opening and locking


def _prefix(name: str) -> str:
    """Return the start of the names of temporary files, so short that they remain valid."""
    kept = os.fsencode(name)[: LONGEST_NAME - 20].decode("utf-8", "ignore")
    return f".{kept}."


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    write_atomic(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing, too large, or not JSON, see `parse_json`.
        OSError: The file cannot be read.
    """
    return parse_json(read_text(path, LARGEST_JSON), str(path))


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Read a text file, gzipped if its name ends in .gz.

    Args:
        largest: Number of bytes, unzipped, that it may have.

    Raises:
        UserError: The file is missing, too large, broken, or not UTF-8.
        OSError: The file cannot be read.
    """
    try:
        return _read_bytes(Path(path), largest).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 (byte {error.start + 1})") from error


def names_and_sizes(files: Iterable[Path]) -> str:
    """Return names and sizes of files, which tell whether two folders hold the same."""
    return "".join(f"{file.name} {file.stat().st_size} " for file in files)


def check_free(path: Path, overwrite: bool, otherwise: str = "") -> None:
    """Raise a UserError if a file exists that `--overwrite` does not allow to replace."""
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it{otherwise}")


def check_file(path: Path) -> None:
    """Check that a file is there and can be opened.

    Raises:
        UserError: There is no such file.
        OSError: It cannot be opened.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    with open(path, "rb"):
        pass


def read_start(path: Path, count: int) -> bytes:
    """Read the first bytes of a file, gunzipped if its name ends in .gz.

    Raises:
        UserError: The file is missing or broken.
        OSError: The file cannot be read.
    """
    with _opened(Path(path)) as file:
        return file.read(count)


def _read_bytes(path: Path, largest: int) -> bytes:
    blocks, size = [], 0
    with _opened(path) as file:
        while block := file.read(1 << 20):
            blocks.append(block)
            size += len(block)
            if size > largest:
                raise UserError(f"{path}: larger than {largest / (1 << 20):g} MiB")
    return b"".join(blocks)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, gunzipped if its name ends in .gz, and translate its errors."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error})") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Raises:
        UserError: The file is missing, larger than 16 MiB, not YAML (see `parse_yaml`; the message
            names the line), or not a mapping.
        OSError: The file cannot be read.
    """
    content = parse_yaml(read_text(file, LARGEST_YAML), str(file))
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected keys with values, found {type(content).__name__}")
    return content


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSON Lines file (gzipped if its name ends in .gz).

    A last line without a line break that is not JSON was cut short by a crash and is left out.

    Returns:
        The rows; an empty list if the file does not exist.

    Raises:
        UserError: Another line is not a JSON object (see `parse_json`), or a gzip file is broken.
        OSError: The file cannot be read.
    """
    if not Path(path).exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = _read_bytes(Path(path), LARGEST_TEXT).split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = load_json(line.decode())
        except ValueError as error:
            if number == len(lines):
                break
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise UserError(f"{path}: line {number}: not JSON ({reason}); mend the line") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: not keys with values; mend the line")
        rows.append(row)
    return rows


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file, and make the file if it is missing.

    Raises:
        WriteError: The file cannot be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error


def finish_lines(path: Path) -> None:
    """Prepare a file of lines for `append_line`: drop a last line that a crash cut short.

    Raises:
        WriteError: The file cannot be written.
    """
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomic(path, whole)


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON Lines, atomically, gzipped if the file's name ends in .gz.

    Equal rows give equal bytes.
    """
    text = "".join(json.dumps(row) + "\n" for row in rows)
    zipped = Path(path).suffix == ".gz"
    write_atomic(path, gzip.compress(text.encode(), mtime=0) if zipped else text)


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
        OSError: The file cannot be read.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file that torch warns about loads, or fails below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it is not a PyTorch weight file"
        if "weights_only" in str(error).lower() or "GLOBAL" in str(error):
            reason = "it holds Python objects besides tensors, which could execute code"
        raise UserError(
            f"{path}: not loaded, {reason}; ask its author for a plain state dict or safetensors"
        ) from error
    except Exception as error:  # the errors of broken files are not specified
        raise UserError(f"{path}: broken or truncated weight file ({first_line(error)})") from error
