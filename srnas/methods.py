"""Published methods as files of options: `method: sa_darts` in the YAML of a search.

The file of a method contains the options that define it, and `about`: its title, paper and a note.
The options take precedence over those of the search file: mappings are merged, and `regularizers`
are appended. Overrides on the command line take precedence over both.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srnas.errors import UserError, did_you_mean
from srnas.files import read_yaml

_PACKAGED = Path(__file__).parent / "recipes"  # in a checkout, a link to options/
RECIPES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "options"
BUNDLED = RECIPES / "methods"
ABOUT = ("title", "paper", "note")


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: Stem of the file.
        about: Its title, paper and note, as far as given.
        options: Its options.
    """

    name: str
    about: dict[str, str]
    options: dict[str, Any]


def find_recipe(file: Path | str) -> Path:
    """Return the path of an options file.

    Args:
        file: The path itself, or if it does not exist, the name of a bundled file, such as
            "search/imdn_x2.yml" or "options/search/imdn_x2.yml".
    """
    path = Path(file)
    if path.exists() or path.is_absolute():
        return path
    inner = Path(*path.parts[1:]) if path.parts[:1] == ("options",) else path
    return RECIPES / inner if (RECIPES / inner).is_file() else path


def method_folders(file: Path | None = None) -> list[Path]:
    """Return the folders in which methods are looked up, the first one first.

    Args:
        file: An options file; the folder `methods` next to the file's folder then comes first.
    """
    beside = [file.absolute().parent.parent / "methods"] if file else []
    return [*beside, Path("options/methods"), BUNDLED]


def apply_method(
    content: Mapping[str, Any], folders: Sequence[Path], known: Collection[str]
) -> dict[str, Any]:
    """Return the options of a search with those of its method.

    Args:
        content: The options, including "method".
        folders: Folders in which the method is looked up.
        known: Names of all options.

    Raises:
        UserError: There is no such method, or it has an unknown option.
    """
    content = dict(content)
    method = load_method(find_method(str(content.pop("method")), folders), known)
    content["from_method"] = method.name
    merged = dict(_join(content, method.options))
    own, added = content.get("regularizers") or [], method.options.get("regularizers", [])
    merged["regularizers"] = [*own, *added]
    return merged


def find_method(name: str, folders: Sequence[Path]) -> Path:
    """Return the file of a method.

    Args:
        name: A path that ends in .yml or .yaml, or the name of a file in one of the folders.
        folders: The folders.

    Raises:
        UserError: No folder has the method.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    names = {file.stem for folder in folders for file in folder.glob("*.yml")}
    raise UserError(f"method: no file {name}.yml in options/methods; {did_you_mean(name, names)}")


def load_method(file: Path, known: Collection[str]) -> Method:
    """Read the file of a method.

    Args:
        file: The file.
        known: Names of all options.

    Raises:
        UserError: `about` is missing or malformed, or an option is unknown.
    """
    options = read_yaml(file)
    about = options.pop("about", None)
    if not isinstance(about, dict) or not set(about) <= set(ABOUT) or "title" not in about:
        raise UserError(f"{file}: about: write title:, and paper: and note: if there are any")
    for key in options:
        if key not in known or key in ("method", "from_method", "name"):
            raise UserError(f"{file}: unknown key {key!r}; {did_you_mean(key, known)}")
    return Method(file.stem, {key: str(value) for key, value in about.items()}, options)


def list_methods(folder: Path, known: Collection[str]) -> list[Method]:
    """Read all methods of a folder, sorted by name.

    Args:
        folder: The folder.
        known: Names of all options.

    Raises:
        UserError: There are none, or one of them is invalid.
    """
    files = sorted(Path(folder).glob("*.yml"))
    if not files:
        raise UserError(f"{folder}: no methods (*.yml) there; name srnas's options/methods")
    return [load_method(file, known) for file in files]


def _join(base: Any, over: Any) -> Any:
    """Merge `over` into `base`; mappings are merged unless they name two different parts."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "name" in over and over["name"] != base.get("name"):
        return over
    return {**base, **{key: _join(base.get(key), value) for key, value in over.items()}}
