"""How the options of a run are resolved: once, here, in one order.

Where two places give the same option, the first one of these counts:

1. the command line (`key.path=value`), after that what a caller gives in Python;
2. the definition of the method, whose `regularizers` are appended to those of the file;
3. the file, which goes over its bases (`_base_`);
4. the recipe of the method for the space (in files with `recipe: over`: before the file; with
   `recipe: false`: nowhere);
5. the defaults of the options.

A mapping does not hide a weaker one, it is merged into it (`srnas.merging`). At last `${datasets}`
is replaced. `srnas.options` checks the result.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srnas.errors import short
from srnas.inherit import Inherited, find_recipe, locate, read_options
from srnas.merging import DEFAULT, Given, labelled, merge, plain
from srnas.methods import method_folders, method_on, with_method
from srnas.overrides import apply_overrides, overlap
from srnas.renames import new_options, new_override

COMMAND = "command line"
# By kind of options file, mappings whose keys are names that the user made; overrides replace them.
COLLECTIONS = {"test": ("data",), "study": ("arms",), "table": ("sets",)}
SECTIONS = {"study": "search", "table": "train"}  # keys whose options have bases of their own
# What srnas 0.1.0 wrote into the options of every task, and its default.
OF_ONE_TASK = {"nb201_table": None, "drop_path": None, "auxiliary_weight": 0.4}


@dataclass(frozen=True)
class Resolved:
    """Resolved options, unchecked.

    Attributes:
        content: The options.
        given: The options before overrides, in values that know their source.
        overrides: "key.path=value" arguments.
    """

    content: dict[str, Any]
    given: Mapping[str, Any]
    overrides: Sequence[str]

    def sources(self, key: str, value: Any) -> list[str]:
        """Return where the parts of an option's value come from; "default" only if all do.

        Args:
            key: The option.
            value: Its checked value, in plain values.
        """
        found: list[str] = []
        for path in _leaves((key,), value):
            found += self._sources(path)
        known = [source for source in dict.fromkeys(found) if source != DEFAULT]
        return sorted(known, key=_rank) or [DEFAULT]

    def at_fault(self, where: str, path: Sequence[str | int], key: str | None = None) -> str:
        """Return the place to name in an error: an override, or the file with the place in it.

        Args:
            where: The file.
            path: The option that has the error.
            key: A key in it that is unknown.
        """
        exact = (*map(str, path), *([key] if key else []))
        override = self._override(exact)
        if override is not None:
            return f"override {short(override)}"
        source = self._source(exact)
        elsewhere = source.startswith(("base ", "method ", "recipe "))
        return f"{where} ({source})" if elsewhere else where

    def _override(self, path: Sequence[str]) -> str | None:
        """Return the last override that changed an option or a part of it."""
        exact = ".".join(path)
        changed = [o for o in self.overrides if exact and overlap(o.partition("=")[0], exact)]
        return changed[-1] if changed else None

    def _sources(self, path: Sequence[str]) -> list[str]:
        override = self._override(path)
        if override is None:
            return [self._source(path)]
        inside = override.partition("=")[0].count(".") >= len(path)  # of a list
        return [COMMAND, self._source(path)] if inside else [COMMAND]

    def _source(self, path: Sequence[str]) -> str:
        node: Any = self.given
        for depth, key in enumerate(path):
            if isinstance(node, Given):  # a name, a number of a schedule, or a list
                other = isinstance(node.value, str) and tuple(path[depth:]) not in (
                    ("name",),
                    ("value",),
                )
                return DEFAULT if other else node.source
            if not isinstance(node, Mapping) or key not in node:
                return DEFAULT
            node = node[key]
        return node.source if isinstance(node, Given) else DEFAULT


def resolve(
    kind: str,
    file: Inherited,
    where: str,
    known: Collection[str],
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    folders: Sequence[Path] | None = None,
) -> Resolved:
    """Resolve the options of a run.

    Args:
        kind: "search", "train" or "test".
        file: The file over its bases.
        known: Names of all options of a search, which a method may have.
        overrides: "key.path=value" arguments.
        changes: What a caller gives in Python, by name of the option.
        folders: Folders in which methods are looked up; by default options/methods in the current
            directory and the bundled ones.

    Raises:
        UserError: An override is malformed, the method is not found or malformed, or `${datasets}`
            has no value.
    """
    overrides = [new_override(one) for one in overrides]
    written = labelled(new_options(changes or {}), where)
    given = merge(file, written)
    chosen = _choices(plain(given), overrides)
    method = chosen.get("method") if kind == "search" else None
    if method is not None:
        space = None if chosen.get("recipe") is False else space_name(chosen.get("space"))
        fixed = method_on(str(method), folders or method_folders(), known, space)
        given = merge(with_method(file, fixed, chosen.get("recipe") == "over"), written)
    content = apply_overrides(plain(given), overrides, COLLECTIONS.get(kind, ()))
    if method is not None:
        content.pop("method")
        asked = [o for o in overrides if o.startswith("method=")]
        given["from_method"] = Given(content["from_method"], COMMAND) if asked else given["method"]
        given.pop("method", None)
        overrides = [o for o in overrides if o not in asked]
    return Resolved(locate(content, where), given, overrides)


def resolve_other(kind: str, file: Path, overrides: Sequence[str] = ()) -> Resolved:
    """Read and resolve a file that is not of one run, unchecked.

    Args:
        kind: "study", "table" or "method".
        file: The file; if it does not exist, it is looked up among the bundled ones.
        overrides: As in `resolve`.

    Raises:
        UserError: The file or one of its bases cannot be read, or as in `resolve`.
    """
    overrides = [new_override(one) for one in overrides]
    given = read_options(find_recipe(file), str(file), SECTIONS.get(kind))
    content = apply_overrides(plain(given), overrides, COLLECTIONS.get(kind, ()))
    return Resolved(locate(content, str(file)), given, overrides)


def space_name(space: Any) -> str | None:
    """Return the name of a space that is written as a name, a mapping or a checked component."""
    name = space.get("name") if isinstance(space, Mapping) else getattr(space, "name", space)
    return name if isinstance(name, str) else None


def without_defaults_of_other_tasks(
    content: Mapping[str, Any], known: Collection[str]
) -> dict[str, Any]:
    """Drop the options of other tasks that files of srnas 0.1.0 contain with their defaults."""
    return {
        key: value
        for key, value in content.items()
        if key in known or key not in OF_ONE_TASK or value != OF_ONE_TASK[key]
    }


def _choices(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return method, recipe and space, on which depends what else is merged."""
    keys = ("method", "recipe", "space")
    known = {key: content[key] for key in keys if key in content}
    first = [o for o in overrides if o.partition("=")[0].partition(".")[0] in keys]
    return apply_overrides(known, first)


def _rank(source: str) -> int:
    return 0 if source == COMMAND else 1 if source.startswith("method ") else 2


def _leaves(path: tuple[str, ...], value: Any) -> list[tuple[str, ...]]:
    if not isinstance(value, Mapping) or not value:
        return [path]
    return [leaf for key, inner in value.items() for leaf in _leaves((*path, str(key)), inner)]
