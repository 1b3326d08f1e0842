"""`srnas methods`: the published methods, each a file of options."""

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    name: Annotated[str | None, typer.Argument(help="Show the options of this method")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the method files; default: srnas's own")
    ] = None,
) -> None:
    """List the methods for method=NAME of a search, each with title, paper and parts."""
    import yaml

    from srnas.methods import BUNDLED, find_method, list_methods, load_method
    from srnas.options import SearchOptions

    known = SearchOptions.model_fields
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
        print(f"{'':{width}}  parts: {', '.join(_words(method.options))}")
        if name:
            print(yaml.safe_dump(method.options, sort_keys=False), end="")


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
