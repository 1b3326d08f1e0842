"""Options files that build on others (`_base_`), and where data sets are (`${datasets}`).

    _base_: imdn_x2.yml        # or a list of files; later files override earlier ones
    name: mine
    data: {batch_size: 32}     # the other options of the base's data stay

A base is looked up beside the file that names it, then among the bundled files
("search/imdn_x2.yml"), and may have bases itself. The file goes over its bases, by the rules of
`srnas.merging`. In all text, `${datasets}` is the folder of the data sets: the option
`datasets` of the file, else the environment variable SRNAS_DATASETS, else "datasets".
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from srnas.errors import UserError, did_you_mean, short
from srnas.files import read_yaml
from srnas.merging import labelled, merge
from srnas.renames import new_file, new_options

_PACKAGED = Path(__file__).parent / "recipes"  # in a checkout, a link to options/
RECIPES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "options"
BASE = "_base_"
DATASETS = "datasets"
MAX_CHAIN = 10  # files that each name the next one
MAX_FILES = 100
Inherited = dict[str, Any]
"""Options over those of their bases, each with its file or "base FILE", see `labelled`."""


def find_recipe(file: Path | str) -> Path:
    """Return the path of an options file.

    Args:
        file: The path itself, or if it does not exist, the name of a bundled file, such as
            "search/imdn_x2.yml" or "options/search/imdn_x2.yml".
    """
    path = Path(file)
    return path if path.exists() else _bundled(path) or path


def read_options(file: Path, name: str | None = None, section: str | None = None) -> Inherited:
    """Read a YAML file of options and its bases.

    Args:
        name: Its name in error messages, and as a source.
        section: A key whose value is a set of options with bases of its own.

    Raises:
        UserError: The file or a base is missing or not a mapping in YAML, a file is its own base,
            or bases go on too long.
        OSError: A file cannot be read.
    """
    path = Path(file).absolute()
    return _Reader(section).expand(read_yaml(file), name or str(file), path.parent, (path,))


def inherit(content: Mapping[str, Any], name: str) -> Inherited:
    """Return a mapping of options with its bases, which are looked up from the current folder.

    Args:
        name: Its name in error messages, and as a source.

    Raises:
        UserError: As in `read_options`.
    """
    return _Reader().expand(content, name, Path.cwd(), ())


def locate(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return options without `datasets`, and with its value for each `${datasets}` in their text.

    Raises:
        UserError: `datasets` is not a folder, or a text has `${...}` with a similar name.

    >>> locate({"datasets": "/data", "data": {"hr": "${datasets}/DIV2K"}}, "here")
    {'data': {'hr': '/data/DIV2K'}}
    """
    rest = {key: value for key, value in content.items() if key != DATASETS}
    folder = content.get(DATASETS)
    if folder is None:
        folder = os.environ.get("SRNAS_DATASETS") or DATASETS
    if isinstance(folder, bool) or not isinstance(folder, str | int | Path) or folder == "":
        raise UserError(f"{where}: {DATASETS}: write the folder of the data sets")
    located: dict[str, Any] = _fill(rest, str(folder), where)
    return located


class _Reader:
    """Reads one file with its bases, within bounds."""

    def __init__(self, section: str | None = None) -> None:
        self.section = section
        self.count = 0

    def expand(
        self,
        content: Mapping[str, Any],
        name: str,
        folder: Path,
        chain: tuple[Path, ...],
        source: str | None = None,
    ) -> Inherited:
        """Merge a mapping over its bases.

        Args:
            folder: Where its bases are looked up first.
            chain: Its file, if it is one, and those that led to it.
            source: Its name as a source, if it is another.
        """
        own = {key: value for key, value in new_options(content).items() if key != BASE}
        inner = content.get(self.section) if self.section else None
        if isinstance(inner, Mapping) and self.section:
            where = f"{name}: {self.section}"
            own[self.section] = self.expand(inner, where, folder, chain, source or name)
        bases = content.get(BASE, [])
        bases = [bases] if isinstance(bases, str | Path) else bases
        if not isinstance(bases, list) or not all(b and isinstance(b, str | Path) for b in bases):
            raise UserError(f"{name}: {BASE}: write the name of a file, or a list of names")
        merged: dict[str, Any] = {}
        for base in bases:
            merged = merge(merged, self._base(base, name, folder, chain))
        return merge(merged, labelled(own, source or name))

    def _base(
        self, base: str | Path, name: str, folder: Path, chain: tuple[Path, ...]
    ) -> Inherited:
        file = _find_base(base, name, folder)
        self.count += 1
        problem = None
        if file.resolve() in [one.resolve() for one in chain]:
            problem = "leads back to itself; take it out in one of the files"
        elif len(chain) >= MAX_CHAIN:
            problem = f"is the base of a base, {MAX_CHAIN} times; merge some of the files"
        elif self.count > MAX_FILES:
            problem = f"is one of more than {MAX_FILES} bases; merge some of the files"
        if problem:
            raise UserError(f"{name}: {BASE}: {base} {problem}")
        label = _label(file)
        content = read_yaml(file)
        return self.expand(content, label, file.parent, (file, *chain), f"base {label}")


def _find_base(base: str | Path, name: str, folder: Path) -> Path:
    beside = Path(os.path.normpath(folder / base))
    found = beside if beside.is_file() else _bundled(Path(base))
    if found is None:
        known = [file.relative_to(RECIPES).as_posix() for file in RECIPES.rglob("*.yml")]
        hint = did_you_mean(base, known)
        hint = hint if hint.startswith("did") else "give its path from this file's folder"
        raise UserError(f"{name}: {BASE}: no file {base} there or among the bundled ones; {hint}")
    return found


def _bundled(path: Path) -> Path | None:
    parts = path.parts[1:] if path.parts[:1] == ("options",) else path.parts
    inner = Path(*new_file(parts))
    return None if path.is_absolute() or not (RECIPES / inner).is_file() else RECIPES / inner


def _label(file: Path) -> str:
    """Return a short name of a file: of a bundled one, that by which it is found."""
    if file.is_relative_to(RECIPES):
        return file.relative_to(RECIPES).as_posix()
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)


def _fill(value: Any, folder: str, where: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _fill(inner, folder, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, folder, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    for name in re.findall(r"\$\{(\w+)\}", value):
        if name != DATASETS and get_close_matches(name.lower(), [DATASETS]):
            raise UserError(f"{where}: {short(value)}: did you mean ${{{DATASETS}}}?")
    return value.replace(f"${{{DATASETS}}}", folder)
