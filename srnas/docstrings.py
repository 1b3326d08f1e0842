"""Descriptions of options, from the docstrings of the models and builders that they belong to.

Docstrings have the Google style: a first paragraph, and sections of "name: text" entries.
"""

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(\w+):\n((?:[ ]{4}.*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^[ ]{4}(\w+(?:, \w+)*)(?: \([^)\n]*\))?:((?:.*\n)(?:[ ]{5,}.*\n|\n)*)", re.M)


def summary(owner: Any) -> str:
    """Return the first paragraph of a docstring on one line; "" if there is none.

    Args:
        owner: A class or function. A class without a docstring of its own has none.
    """
    return _one_line(_docstring(owner).split("\n\n")[0])


def entries(owner: Any, section: str) -> dict[str, str]:
    """Return the entries of a section of a docstring on one line each, by name.

    Args:
        owner: A class, whose entries go over those of its base classes, or a function.
        section: Title of the section, "Args" or "Attributes".

    >>> def f(width, height, scale):
    ...     '''Do something.
    ...
    ...     Args:
    ...         width, height: Size
    ...             in pixels.
    ...         scale: 2 or 4.
    ...     '''
    >>> entries(f, "Args")
    {'width': 'Size in pixels.', 'height': 'Size in pixels.', 'scale': '2 or 4.'}
    """
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(owner)) if inspect.isclass(owner) else (owner,):
        for title, body in _SECTION.findall(_docstring(one) + "\n"):
            for names, text in _ENTRY.findall(body) if title == section else ():
                found |= dict.fromkeys(names.split(", "), _one_line(text))
    return found


def _docstring(owner: Any) -> str:
    own = vars(owner).get("__doc__") if inspect.isclass(owner) else owner.__doc__
    return inspect.cleandoc(own or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def explain(schema: dict[str, Any], model: type) -> None:
    """Put the docstring of a model into its JSON Schema, where editors show it."""
    schema.pop("description", None)  # the whole docstring
    if text := summary(model):
        schema["description"] = text
    texts = entries(model, "Attributes")
    for key, option in schema.get("properties", {}).items():
        if key in texts:
            option["description"] = texts[key]
