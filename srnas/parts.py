"""How a part (a space, a loss, a schedule, ...) is written in YAML and checked.

A part is a name, or a name with its options; these are checked against the signature of what
the name stands for, so a new part is one file and its name.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError, core_schema

from srnas.errors import did_you_mean
from srnas.registry import Registry
from srnas.schedules import SCHEDULES


class Strict(BaseModel):
    """A mapping that takes its own keys only; another key is answered with the nearest."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = did_you_mean(key, cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key", "unknown key {key}; {hint}", {"key": repr(key), "hint": hint}
                    )
        return data


class Part:
    """Annotation of an option that names a registered part: `Annotated[dict, Part(SPACES)]`.

    Accepts NAME or {"name": NAME, option: value, ...}; the value is always the latter with
    every option filled in. default: the name that options without one belong to. number_is:
    the part that a bare number stands for, as its `value`.
    """

    def __init__(
        self, registry: Registry, default: str | None = None, number_is: str | None = None
    ) -> None:
        self.registry = registry
        self.default = default
        self.number_is = number_is

    def check(self, value: Any) -> dict[str, Any]:
        """Check one part; pydantic reports what this raises under the option's path."""
        if self.number_is and isinstance(value, int | float) and not isinstance(value, bool):
            value = {"name": self.number_is, "value": value}
        elif self.number_is and isinstance(value, str):
            value = {"name": self.number_is, "value": value}  # PyYAML reads 1e-4 as a string
        elif isinstance(value, str):
            value = {"name": value}
        elif isinstance(value, dict) and self.default:
            value = {"name": self.default, **value}
        kind = self.registry.kind
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "part", "a {kind} is written as its name, or as name: with options", {"kind": kind}
            )
        name = value["name"]
        if name not in self.registry:
            raise PydanticCustomError(
                "part_name",
                "no {kind} is named {name}; {hint}",
                {"kind": kind, "name": repr(name), "hint": did_you_mean(name, self.registry)},
            )
        arguments = {key: option for key, option in value.items() if key != "name"}
        try:
            checked = self.model(name).model_validate(arguments)
        except ValidationError as error:
            path, message = first_error(error)
            raise PydanticCustomError(
                "part_option", "{message}", {"message": message, "path": path}
            ) from error
        return {"name": name, **checked.model_dump()}

    def model(self, name: str) -> type[Strict]:
        """The pydantic model of one part's options, from its signature."""
        fields: dict[str, Any] = {
            key: (
                parameter.annotation,
                ... if parameter.default is parameter.empty else parameter.default,
            )
            for key, parameter in self.registry.options_of(name).items()
        }
        return create_model(f"{name}_options", __base__=Strict, **fields)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        choices: list[dict[str, Any]] = [{"type": "string", "enum": sorted(self.registry)}]
        if self.number_is:
            choices = [{"type": "number"}]
        for name in self.registry:
            part = self.model(name).model_json_schema()
            part["properties"] = {"name": {"const": name}, **part.get("properties", {})}
            named = [] if name == self.default else ["name"]
            part["required"] = [*named, *part.get("required", [])]
            part.pop("title", None)
            choices.append(part)
        return {"anyOf": choices}


ScheduleOption = Annotated[dict[str, Any], Part(SCHEDULES, number_is="constant")]


def first_error(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """(path, message) of the first fault, through nested parts."""
    first = error.errors(include_url=False)[0]
    path, message = first["loc"], first["msg"]
    context = first.get("ctx", {})
    if first["type"] == "part_option":
        path = (*path, *context["path"])
    elif first["type"] == "missing":
        message = "is missing"
    elif first["type"] not in ("unknown_key", "part", "part_name", "source", "name", "model"):
        message = f"{message}, got {first['input']!r}"
    return path, message
