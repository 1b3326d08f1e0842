"""`srnas methods`: the published methods, each a file of options."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from srnas.methods import Method


def command(
    name: Annotated[str | None, typer.Argument(help="Show the options of this method")] = None,
    space: Annotated[
        str | None, typer.Option(help="Show the recipe of the method's paper on this space")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the method files; default: srnas's own")
    ] = None,
) -> None:
    """List the methods for method=NAME of a search, each with title, paper and components.

    With a name and --space, show the recipe on that space: the values that the paper or its code
    fixed, what it leaves open, and what srnas takes there.
    """
    import yaml

    from srnas.errors import UserError
    from srnas.methods import BUNDLED, find_method, list_methods, load_method
    from srnas.options import SearchOptions

    known = SearchOptions.model_fields
    if space and not name:
        raise UserError("--space: name a method, as in srnas methods pc_darts --space darts")
    if name:
        found = [load_method(find_method(name, [folder or BUNDLED]), known)]
    else:
        found = list_methods(folder or BUNDLED, known)
    width = max(len(method.name) for method in found)
    for method in found:
        print(f"{method.name:{width}}  {method.about['title']}")
        for key in ("paper", "note"):
            if key in method.about:
                print(f"{'':{width}}  {method.about[key]}")
        print(f"{'':{width}}  uses: {', '.join(_words(method.options))}")
        if method.recipes:
            print(f"{'':{width}}  recipes: {', '.join(method.recipes)}")
        if name:
            print(yaml.safe_dump(method.options, sort_keys=False), end="")
    if name and space:
        _show_recipe(found[0], space, [folder or BUNDLED, BUNDLED])


def _show_recipe(method: "Method", space: str, folders: list[Path]) -> None:
    import yaml

    from srnas.errors import UserError, did_you_mean
    from srnas.methods import recipe_on
    from srnas.options import RunOptions, SearchOptions
    from srnas.spaces import SPACES

    if space not in SPACES:
        raise UserError(f"--space: no space is named {space!r}; {did_you_mean(space, SPACES)}")
    recipe = recipe_on(method, space, folders, SearchOptions.model_fields)
    if recipe is None:
        others = ", ".join(method.recipes)
        hint = f"it has one on {others}" if others else "options/search has whole searches"
        print(f"\nno recipe on space {space}: the values of the search file hold ({hint})")
        return
    print(f"\non space {space}, from {recipe.source}:")
    print(yaml.safe_dump(recipe.options, sort_keys=False), end="")
    print(f"\nleft open: {recipe.open or 'nothing that srnas has an option for'}")
    fixed = {*method.options, *recipe.options, *RunOptions.model_fields}
    fixed |= {"method", "from_method", "recipe"}
    rest = {
        key: field.get_default(call_default_factory=True)
        for key, field in SearchOptions.model_fields.items()
        if key not in fixed and not field.is_required()
    }
    plain = {k: v for k, v in rest.items() if v is None or isinstance(v, bool | int | float | str)}
    print("srnas's defaults for all other options:")
    print(yaml.safe_dump(plain, sort_keys=False), end="")


def _words(options: dict[str, Any]) -> list[str]:
    """Summarize options in a few words each."""
    words = []
    for key, value in options.items():
        if key == "regularizers":
            terms = [term["term"] for term in value]
            words += [t["name"] if isinstance(t, dict) else t for t in terms]
        elif isinstance(value, dict) and "name" in value:
            words.append(f"{key} {value['name']}")
        elif isinstance(value, str | int | float):
            words.append(f"{key} {value}")
        else:
            words.append(key)
    return words
