"""Published methods as files of options: `method: sa_darts` in a search's YAML.

A method's file holds the options that make it up, and `about` it: title, paper, note. They go
over the search file's own; mappings are joined, `regularizers` are added to the file's. What is
given on the command line goes over both.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srnas.errors import UserError, did_you_mean
from srnas.files import read_yaml

BUNDLED = Path(__file__).parents[1] / "options" / "methods"
ABOUT = ("title", "paper", "note")


@dataclass(frozen=True)
class Method:
    """A method's name, what `about` says of it, and its options."""

    name: str
    about: dict[str, str]
    options: dict[str, Any]


def with_method(content: Mapping[str, Any], file: Path, known: Collection[str]) -> dict[str, Any]:
    """A search file's content with the options of the method that it names, if it names one.

    known: the options that there are. Raises UserError for a method that is not there, and for
    an option of it that is not known.
    """
    content = dict(content)
    name = content.pop("method", None)
    if name is None:
        return content
    method = load_method(find_method(str(name), file), known)
    content["from_method"] = method.name
    added = method.options.get("regularizers", [])
    merged = _join(content, method.options)
    merged["regularizers"] = [*(content.get("regularizers") or []), *added]
    return merged


def find_method(name: str, near: Path) -> Path:
    """The file of a method: a path ending in .yml, or a name in `methods` beside the folder of
    the options file `near`, below the current folder, or in srnas's own."""
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    folders = [Path(near).absolute().parents[1] / "methods", Path("options/methods"), BUNDLED]
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    names = {file.stem for folder in folders for file in folder.glob("*.yml")}
    raise UserError(f"method: no file {name}.yml in options/methods; {did_you_mean(name, names)}")


def load_method(file: Path, known: Collection[str]) -> Method:
    """Read a method's file; UserError if a key of it is not known."""
    options = read_yaml(file)
    about = options.pop("about", None)
    if not isinstance(about, dict) or not set(about) <= set(ABOUT) or "title" not in about:
        raise UserError(f"{file}: about: write title:, and paper: and note: if there are any")
    for key in options:
        if key not in known or key in ("method", "from_method", "name"):
            raise UserError(f"{file}: unknown key {key!r}; {did_you_mean(key, known)}")
    return Method(file.stem, {key: str(value) for key, value in about.items()}, options)


def list_methods(folder: Path, known: Collection[str]) -> list[Method]:
    """The methods of a folder, by name; UserError if there are none."""
    files = sorted(Path(folder).glob("*.yml"))
    if not files:
        raise UserError(f"{folder}: no methods (*.yml) there; name srnas's options/methods")
    return [load_method(file, known) for file in files]


def _join(base: Any, over: Any) -> Any:
    """`over` on top of `base`; mappings are joined, unless they name two different parts."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{key: _join(base.get(key), value) for key, value in over.items()}}
