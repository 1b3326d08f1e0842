"""JSON Schemas of the files that users write: options, methods, studies, tables' protocols.

Their descriptions are those of the docstrings (`srnas.docstrings`).
"""

from typing import Any

from srnas.components import Strict
from srnas.errors import UserError, did_you_mean
from srnas.inherit_schema import may_have_base, optional
from srnas.methods import ABOUT, NOT_OF_A_METHOD, RECIPE_KEYS
from srnas.options import SearchOptions, json_schema, kinds
from srnas.renames import KINDS, new_name

Schema = dict[str, Any]
OF_METHODS = {
    "title": "Title of the method; by default the name of the file.",
    "paper": "Paper that describes the method: authors, title, venue.",
    "note": "How the method differs from the paper, and whatever else its users should know.",
    "source": "Where the values come from, such as a file of the released code.",
    "open": "What the source leaves open, in words.",
    "like": "Name of another method, whose recipe on this space these options change.",
}


def schema_kinds() -> list[str]:
    """Return the kinds of files that have a schema."""
    return [*kinds(), "method", "study", "table"]


def schema(kind: str) -> Schema:
    """Return the JSON Schema of a kind of file.

    Raises:
        UserError: There is no such kind.
    """
    kind = new_name(kind, KINDS, "kind of options")
    if kind in kinds():
        return json_schema(kind)
    if kind == "method":
        return may_have_base(_method())
    if kind == "study":
        from srnas.table.study import Study

        return may_have_base(_around(Study, "search"))
    if kind == "table":
        from srnas.table.protocol import Protocol

        return may_have_base(_around(Protocol, "train"))
    raise UserError(f"schema {kind}: {did_you_mean(kind, schema_kinds())}")


def _around(model: type[Strict], kind: str) -> Schema:
    """Return the schema of a model one of whose options holds options of a kind, not all of them.

    The others come from a method, or are filled in.
    """
    outer, inner = model.model_json_schema(), optional(json_schema(kind))
    definitions = inner.pop("$defs")
    assert not definitions.keys() & outer["$defs"].keys()
    outer["$defs"] |= definitions
    text = outer["properties"][kind]["description"]
    outer["properties"][kind] = {"description": text, **inner}
    return outer


def _method() -> Schema:
    """Return the schema of a method's file."""
    options = optional(SearchOptions.model_json_schema())
    definitions = options.pop("$defs")
    own = {k: v for k, v in options["properties"].items() if k not in NOT_OF_A_METHOD}
    recipe = _of_strings(
        "Options that the paper or its released code fixed on a space.", RECIPE_KEYS
    )
    recipe["properties"] |= own
    like = {"type": "string", "description": OF_METHODS["like"]}
    on = {
        "description": "What the paper or its released code fixed, by space.",
        "type": "object",
        "additionalProperties": {"anyOf": [like, recipe]},
    }
    about = _of_strings("What the method is.", ABOUT)
    return {
        **options,
        "title": "Method",
        "description": "Options that define a search method; they go over those of a search.",
        "properties": {"about": about, **own, "on": on},
        "$defs": definitions,
    }


def _of_strings(description: str, keys: tuple[str, ...]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {"type": "string", "description": OF_METHODS[key]} for key in keys},
    }
