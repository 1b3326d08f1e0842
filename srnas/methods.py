"""Published methods as files of options: `method: sa_darts` in a search's YAML.

A method's file holds the options that make it up, and `about` it: title, paper, note. They go
over the search file's own; mappings are joined, `regularizers` are added to the file's. What is
given on the command line goes over both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srnas.errors import UserError, did_you_mean
from srnas.files import read_yaml

_PACKAGED = Path(__file__).parent / "recipes"  # in a checkout a link to options/
RECIPES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "options"
BUNDLED = RECIPES / "methods"
ABOUT = ("title", "paper", "note")


@dataclass(frozen=True)
class Method:
    """A method's name, what `about` says of it, and its options."""

    name: str
    about: dict[str, str]
    options: dict[str, Any]


def find_recipe(file: Path | str) -> Path:
    """Return an options file: the path itself, or the file of that name among srnas's own.

    Args:
        file: A path; if there is no such file, "search/imdn_x2.yml" or "options/search/imdn_x2.yml"
            names one of srnas's.
    """
    path = Path(file)
    if path.exists() or path.is_absolute():
        return path
    inner = Path(*path.parts[1:]) if path.parts[:1] == ("options",) else path
    return RECIPES / inner if (RECIPES / inner).is_file() else path


def method_folders(file: Path | None = None) -> list[Path]:
    """Return where methods are looked up, the first folder first.

    Args:
        file: An options file: `methods` beside its folder comes first.
    """
    beside = [file.absolute().parent.parent / "methods"] if file else []
    return [*beside, Path("options/methods"), BUNDLED]


def apply_method(
    content: Mapping[str, Any], folders: Sequence[Path], known: Collection[str]
) -> dict[str, Any]:
    """Return a search's options with those of the method that it names.

    Args:
        content: The options, with "method".
        folders: Where the method's file is looked up.
        known: The names of all options.

    Raises:
        UserError: There is no such method, or it has an option that is not known.
    """
    content = dict(content)
    method = load_method(find_method(str(content.pop("method")), folders), known)
    content["from_method"] = method.name
    merged = dict(_join(content, method.options))
    own, added = content.get("regularizers") or [], method.options.get("regularizers", [])
    merged["regularizers"] = [*own, *added]
    return merged


def find_method(name: str, folders: Sequence[Path]) -> Path:
    """Return the file of a method: a path ending in .yml, or a name in one of the folders.

    Raises:
        UserError: No folder has it.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    names = {file.stem for folder in folders for file in folder.glob("*.yml")}
    raise UserError(f"method: no file {name}.yml in options/methods; {did_you_mean(name, names)}")


def load_method(file: Path, known: Collection[str]) -> Method:
    """Read a method's file; UserError if one of its keys is not known."""
    options = read_yaml(file)
    about = options.pop("about", None)
    if not isinstance(about, dict) or not set(about) <= set(ABOUT) or "title" not in about:
        raise UserError(f"{file}: about: write title:, and paper: and note: if there are any")
    for key in options:
        if key not in known or key in ("method", "from_method", "name"):
            raise UserError(f"{file}: unknown key {key!r}; {did_you_mean(key, known)}")
    return Method(file.stem, {key: str(value) for key, value in about.items()}, options)


def list_methods(folder: Path, known: Collection[str]) -> list[Method]:
    """Return the methods of a folder, by name; UserError if there are none."""
    files = sorted(Path(folder).glob("*.yml"))
    if not files:
        raise UserError(f"{folder}: no methods (*.yml) there; name srnas's options/methods")
    return [load_method(file, known) for file in files]


def _join(base: Any, over: Any) -> Any:
    """Lay `over` on top of `base`; mappings are joined, unless they name two different parts."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{key: _join(base.get(key), value) for key, value in over.items()}}
