"""Names that have changed: the old names still work, and a message gives the new name once."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

COMMANDS = {"bench": "table"}
KINDS = {"bench": "table"}  # of options files; also the folder of the bundled ones
OPTIONS = {"update": "update_rule"}  # of a search
METHODS = {"random_sharing": "random_search_ws"}
FILES = {f"methods/{old}.yml": f"methods/{new}.yml" for old, new in METHODS.items()}

_OLD_OVERRIDE = re.compile(rf"((?:search\.)?)({'|'.join(OPTIONS)})(?=[.=])")
_said: set[str] = set()


def new_name(old: str, names: Mapping[str, str], kind: str) -> str:
    """Return the name that something has now, and say it once on standard error if it changed.

    Args:
        old: The name given.
        names: Old and new names.
        kind: What it names, in words.
    """
    if old not in names:
        return old
    if old not in _said:
        _said.add(old)
        print(f"note: {kind} {old} is called {names[old]} now", file=sys.stderr)
    return names[old]


def new_options(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return options of a search with the names of today; others pass through."""
    renamed = {new_name(key, OPTIONS, "option"): value for key, value in content.items()}
    method = renamed.get("from_method")
    if isinstance(method, str) and method in METHODS:
        renamed["from_method"] = METHODS[method]
    return renamed


def new_override(override: str) -> str:
    """Return a "key.path=value" argument with the names of today."""
    match = _OLD_OVERRIDE.match(override)
    if match is None:
        return override
    return match[1] + new_name(match[2], OPTIONS, "option") + override[match.end() :]


def new_file(path: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of a bundled file's path with the names of today."""
    folder, *rest = path or ("",)
    if folder in KINDS:
        return new_name(folder, KINDS, "folder"), *rest
    name = "/".join(path)
    return tuple(new_name(name, FILES, "file").split("/")) if name in FILES else tuple(path)


def first_names(value: Any) -> Any:
    """Return options with the names that they had first, by which results have been stored.

    Args:
        value: Options as written: mappings, lists of overrides, names of methods.
    """
    if isinstance(value, dict):
        return {_old(OPTIONS, key): first_names(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [first_names(inner) for inner in value]
    if not isinstance(value, str):
        return value
    key, dot, rest = value.partition(".")
    return _old(OPTIONS, key) + dot + rest if dot else _old(METHODS, value)


def _old(names: Mapping[str, str], new: str) -> str:
    return next((old for old, name in names.items() if name == new), new)
