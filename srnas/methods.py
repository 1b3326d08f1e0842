"""Published methods as files of options: `method: sa_darts` in the YAML of a search.

The file of a method contains the options that define it, and `about`: its title (by default its
name), paper and a note, all of which may be left out.
The options take precedence over those of the search file: mappings are merged, and `regularizers`
are appended. Overrides on the command line take precedence over both.

A section `on` contains, by space, the recipe: what else its paper or released code fixed there.

    on:
      darts:
        source: train_search.py of the released code
        open: in words, what the source does not say
        like: pc_darts       # begin with what method pc_darts fixes on this space
        epochs: 50
      nasbench201: pc_darts  # the same as {like: pc_darts}

Where a recipe repeats options that define the method, it changes the definition on its space
(what it takes over from another method does not). All else gives way to the search file, or
replaces its values, as the option `recipe` of the search selects ("under" or "over"; false for no
recipe).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srnas.errors import UserError, did_you_mean
from srnas.inherit import RECIPES, read_options
from srnas.merging import DEFAULT, Given, differ, labelled, merge, plain
from srnas.renames import METHODS, new_name, new_options

BUNDLED = RECIPES / "methods"
ABOUT = ("title", "paper", "note")
RECIPE_KEYS = ("source", "open", "like")
NOT_OF_A_METHOD = ("method", "from_method", "name", "recipe")


@dataclass(frozen=True)
class Recipe:
    """The values of a paper or its released code for a method on one space.

    Attributes:
        source: Where the values come from.
        open: What the source leaves open.
        options: The options.
    """

    source: str
    open: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A method.

    Attributes:
        name: Stem of the file.
        about: Its title, paper and note, as far as given.
        options: The options that define it.
        recipes: Its recipes by space, as written, see `recipe_on`.
    """

    name: str
    about: dict[str, str]
    options: dict[str, Any]
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodOn:
    """The values of a method on a space, each with its source (`labelled`).

    Attributes:
        definition: The options that define it, with what its recipe changes of them.
        recipe: The other options of its recipe.
    """

    definition: dict[str, Any]
    recipe: dict[str, Any]


def method_folders(file: Path | None = None) -> list[Path]:
    """Return the folders in which methods are looked up, the first one first.

    Args:
        file: An options file; the folder `methods` next to the file's folder then comes first.
    """
    beside = [file.absolute().parent.parent / "methods"] if file else []
    return [*beside, Path("options/methods"), BUNDLED]


def apply_method(
    content: Mapping[str, Any],
    folders: Sequence[Path],
    known: Collection[str],
    space: str | None = None,
) -> dict[str, Any]:
    """Return the options of a search with those of its method, and of its recipe on the space.

    Args:
        content: The options, including "method".
        space: Name of the space; without one, no recipe is applied.

    Raises:
        UserError: There is no such method, or it has an unknown option.
    """
    rest = {key: value for key, value in content.items() if key != "method"}
    recipe = content.get("recipe")
    fixed = method_on(str(content["method"]), folders, known, None if recipe is False else space)
    applied: dict[str, Any] = plain(with_method(labelled(rest, ""), fixed, recipe == "over"))
    return applied


def method_on(
    name: str, folders: Sequence[Path], known: Collection[str], space: str | None
) -> MethodOn:
    """Look up the values of a method on a space.

    Args:
        name: A name or a path, see `find_method`.
        space: Name of the space; None for no recipe.

    Raises:
        UserError: There is no such method, or it has an unknown option.
    """
    file = find_method(name, folders)
    method = load_method(file, known)
    found = recipe_on(method, space, [file.parent, *folders], known) if space is not None else None
    recipe = found.options if found else {}
    definition = merge(method.options, _repeated(recipe, method.options))
    rest = _without(recipe, method.options)
    return MethodOn(
        labelled({**definition, "from_method": method.name}, f"method {method.name}"),
        labelled(rest, f"recipe of {method.name} for {space}"),
    )


def with_method(given: Mapping[str, Any], method: MethodOn, over: bool) -> dict[str, Any]:
    """Return the options of a search file between those of a method.

    Args:
        given: The options of the file, see `labelled`.
        method: What the method fixes.
        over: Whether its recipe goes over the file instead of under it.
    """
    base = merge(given, method.recipe) if over else merge(method.recipe, given)
    regularizers = _appended(base.get("regularizers"), method.definition.get("regularizers"))
    return {**merge(base, method.definition), "regularizers": regularizers}


def _appended(own: Any, added: Any) -> Any:
    """Return the terms of the search and then those of the method."""
    terms: list[Any] = []
    for one in (own, added):
        if not isinstance(plain(one) or [], list):
            return one  # the check of the options reports it
        terms += plain(one) or []
    sources = [one.source for one in (added, own) if isinstance(one, Given) and one.value]
    return Given(terms, "; ".join(sources) or DEFAULT)


def recipe_on(
    method: Method, space: str, folders: Sequence[Path], known: Collection[str]
) -> Recipe | None:
    """Return the recipe of a method on a space, with the options of the methods it is like.

    Args:
        folders: Folders in which the methods it is like are looked up.

    Returns:
        The recipe; none if the method's file has none for the space.

    Raises:
        UserError: A recipe is like a method that does not exist, has no recipe on the space, or is
            like this one.
    """
    return _resolve(method, space, folders, known, (method.name,))


def _resolve(
    method: Method,
    space: str,
    folders: Sequence[Path],
    known: Collection[str],
    chain: tuple[str, ...],
) -> Recipe | None:
    if space not in method.recipes:
        return None
    options = dict(method.recipes[space])
    source, left_open, like = (str(options.pop(key, "")) for key in RECIPE_KEYS)
    if "space" in options:
        options["space"] = {"name": space, **options["space"]}
    if like:
        if like in chain:
            where = f"method {method.name}: on.{space}"
            raise UserError(f"{where}: like {like}, which is like this one")
        other = load_method(find_method(like, folders), known)
        base = _resolve(other, space, folders, known, (*chain, like))
        if base is None:
            raise UserError(f"method {method.name}: on.{space}: {like} has no recipe on {space}")
        inherited = _without(_without(base.options, other.options), method.options)
        options = merge(inherited, options)
        source = source or base.source
        left_open = left_open or base.open
    return Recipe(source, left_open, options)


def find_method(name: str, folders: Sequence[Path]) -> Path:
    """Return the file of a method.

    Args:
        name: A path that ends in .yml or .yaml, or the name of a file in one of the folders.

    Raises:
        UserError: No folder has the method.
    """
    if name.endswith((".yml", ".yaml")):
        return Path(name)
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    if name in METHODS:
        return find_method(new_name(name, METHODS, "method"), folders)
    names = {file.stem for folder in folders for file in folder.glob("*.yml")}
    raise UserError(f"method: no file {name}.yml in options/methods; {did_you_mean(name, names)}")


def load_method(file: Path, known: Collection[str]) -> Method:
    """Read the file of a method.

    Raises:
        UserError: `about` or `on` is malformed, or an option is unknown.
    """
    read: dict[Any, Any] = plain(read_options(file))
    recipes = read.pop("on", read.pop(True, {}))  # YAML 1.1 reads a bare `on` as true
    options: dict[str, Any] = read
    about = options.pop("about", {})
    if not isinstance(about, dict) or not set(about) <= set(ABOUT):
        raise UserError(f"{file}: about: write title:, paper: and note:, as far as there are any")
    _check_keys(options, known, f"{file}:")
    if not isinstance(recipes, dict):
        raise UserError(f"{file}: on: write SPACE: and its options")
    recipes = {
        space: {"like": r} if isinstance(r, str) else new_options(r) if isinstance(r, dict) else r
        for space, r in recipes.items()
    }
    for space, recipe in recipes.items():
        if not isinstance(recipe, dict):
            raise UserError(f"{file}: on.{space}: write options, or the name of a method")
        own = {key: value for key, value in recipe.items() if key not in RECIPE_KEYS}
        _check_keys(own, known, f"{file}: on.{space}:")
        if not isinstance(own.get("space", {}), dict):
            raise UserError(f"{file}: on.{space}.space: write options of the space")
    about = {"title": file.stem} | {key: str(value) for key, value in about.items()}
    return Method(file.stem, about, options, recipes)


def _check_keys(options: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in options:
        if key not in known or key in NOT_OF_A_METHOD:
            raise UserError(f"{where} unknown key {key!r}; {did_you_mean(str(key), known)}")


def list_methods(folder: Path, known: Collection[str]) -> list[Method]:
    """Read all methods of a folder, sorted by name.

    Raises:
        UserError: There are none, or one of them is invalid.
    """
    files = sorted(Path(folder).glob("*.yml"))
    if not files:
        raise UserError(f"{folder}: no methods (*.yml) there; name srnas's options/methods")
    return [load_method(file, known) for file in files]


def _repeated(options: Any, definition: Any) -> Any:
    """Return the part of a recipe that repeats options of a definition."""
    if not (isinstance(options, Mapping) and isinstance(definition, Mapping)):
        return options
    if differ(options, definition):
        return options
    repeated = {
        key: _repeated(value, definition[key])
        for key, value in options.items()
        if key in definition
    }
    return {key: value for key, value in repeated.items() if value != {}}  # which would replace


def _without(options: Mapping[str, Any], definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `_repeated` leaves out."""
    rest = {}
    for key, value in options.items():
        given = definition.get(key)
        if key not in definition:
            rest[key] = value
        elif isinstance(value, Mapping) and isinstance(given, Mapping) and not differ(value, given):
            inner = _without(value, given)
            rest |= {key: inner} if inner else {}
    return rest
