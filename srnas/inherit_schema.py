"""JSON Schemas of files that may build on others."""

import json
from typing import Any

from srnas.inherit import BASE, DATASETS

FOLDER = {"description": "The value of ${datasets}.", "type": "string"}
FILES = {
    "description": "Options files on which this file builds; later files override earlier ones.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def allow_bases(models: list[dict[str, str]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of files that are one of several models, or build on other files.

    Where a file has a base, nothing is required: each option may come from the base.

    Args:
        models: References to the models ({"$ref": "#/$defs/NAME"}).
        definitions: All definitions ({"$defs": {...}}).
    """
    whole = definitions["$defs"]
    text = json.dumps({"models": models, "defs": whole})
    partial = optional(json.loads(text.replace('"#/$defs/', '"#/$defs/partial.')))
    renamed = {f"partial.{name}": schema for name, schema in partial["defs"].items()}
    everything = {**whole, **renamed}
    for model in (*models, *partial["models"]):
        everything[model["$ref"].removeprefix("#/$defs/")]["properties"][DATASETS] = FOLDER
    for model in partial["models"]:
        schema = everything[model["$ref"].removeprefix("#/$defs/")]
        schema["properties"][BASE] = FILES
        schema["required"] = [BASE]
    return {"anyOf": [*models, *partial["models"]], "$defs": everything}


def may_have_base(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one kind of file, which may build on others instead of being whole.

    Args:
        schema: The schema of whole files, an object with properties.
    """
    required = schema.get("required", [])
    return {
        **{key: value for key, value in schema.items() if key != "required"},
        "properties": {**schema["properties"], BASE: FILES, DATASETS: FOLDER},
        "anyOf": [{"required": required}, {"required": [BASE]}],
    }


def optional(schema: Any) -> Any:
    """Return a schema in which no property is required, at any depth."""
    if isinstance(schema, dict):
        return {
            key: optional(inner)
            for key, inner in schema.items()
            if not (key == "required" and isinstance(inner, list))
        }
    return [optional(inner) for inner in schema] if isinstance(schema, list) else schema
