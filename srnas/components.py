"""Components: registered builders with checked options, as named in YAML.

In YAML a component (a space, a loss, a schedule, ...) is its name, or a mapping of `name:` and
options. It is checked against the signature of the builder that a `Registry` has under this name,
and becomes a `Component`, a typed object that can be built later.

A builder takes its context (a choice builder, a supernet, parameters) as positional arguments and
its options as keyword-only arguments. So a new component needs one file, with its class or function
under its name.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

from annotated_types import Interval
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from srnas.docstrings import entries, explain, summary
from srnas.errors import UserError, did_you_mean, short

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Builder = TypeVar("Builder")

# Bounds that no run needs to exceed; beyond them libraries overflow, or work without end.
PositiveInt = Annotated[int, Interval(ge=1, le=2**31 - 1)]
Count = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Interval(ge=0, lt=2**62)]
Channels = Annotated[int, Interval(ge=1, le=1024)]
Depth = Annotated[int, Interval(ge=1, le=256)]
Classes = Annotated[int, Interval(ge=2, le=100_000)]
Side = Annotated[int, Interval(ge=1, le=65_536)]
"""Height or width of images in pixels."""
BatchSize = Annotated[int, Interval(ge=1, le=65_536)]
Threads = Annotated[int, Interval(ge=1, le=1024)]
Workers = Annotated[int, Interval(ge=0, le=1024)]

_ONE, _LIST = "a value", "a list"  # not shown: no option has such a name
OneOrEach = Annotated[
    Annotated[T, Tag(_ONE)] | Annotated[list[T], Tag(_LIST)],
    Discriminator(lambda value: _LIST if isinstance(value, list) else _ONE),
]
"""A value for all, or a list with that of each one: `OneOrEach[Channels]`."""


class Strict(BaseModel):
    """Base class of options models, which reject unknown keys and suggest the closest known one.

    The JSON Schema of a model has the descriptions of its docstring: the first paragraph, and the
    section "Attributes" with those of its base classes.
    """

    model_config = ConfigDict(
        json_schema_extra=explain,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        arbitrary_types_allowed=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = did_you_mean(key, cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key {key}; {hint}",
                        {"key": short(key), "hint": hint},
                    )
        return data


S = TypeVar("S", bound=Strict)


class Registry(Mapping[str, Callable[..., T_co]], Generic[T_co]):
    """A mapping from names to the builders of one kind of component.

    Args:
        kind: Kind of component ("regularizer"), for error messages.
        packages: Packages whose modules register the components. They are imported at the first
            lookup, so that importing the registry itself is cheap.
        base: Class that every registered class must extend.
        elsewhere: Finds the builder of a name that is not registered, or returns None.
    """

    def __init__(
        self,
        kind: str,
        packages: Sequence[str] = (),
        base: type[T_co] | None = None,
        elsewhere: Callable[[str], Callable[..., T_co] | None] | None = None,
    ) -> None:
        self.kind = kind
        self._packages = tuple(packages)
        self._base = base
        self._elsewhere = elsewhere
        self._builders: dict[str, Callable[..., T_co]] = {}
        self._found: dict[str, Callable[..., T_co]] = {}  # elsewhere; not listed

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Return a decorator that registers a builder under `name`.

        Raises:
            UserError: On decoration, if the name is taken, or the class does not extend the
                registry's base or define its abstract methods.
        """

        def enter(builder: Builder) -> Builder:
            if name in self._builders:
                owner = getattr(self._builders[name], "__module__", "elsewhere")
                raise UserError(
                    f"{self.kind} {name!r} is registered twice, already in {owner}; choose another "
                    "name, or leave out a plugin that is in the package"
                )
            base = self._base
            if base and not (inspect.isclass(builder) and issubclass(builder, base)):
                raise UserError(
                    f"{self.kind} {name!r} must extend {base.__module__}.{base.__name__}"
                )
            if inspect.isclass(builder) and inspect.isabstract(builder):
                lacking = ", ".join(sorted(getattr(builder, "__abstractmethods__", ())))
                raise UserError(f"{self.kind} {name!r} must define {lacking}")
            self._builders[name] = builder  # type: ignore[assignment]  # checked by its annotations
            return builder

        return enter

    def build(self, part: Any, *context: Any) -> T_co:
        """Check and build a component.

        Args:
            part: The component as in YAML, a name or a mapping of name and options.

        Raises:
            UserError: The name is not registered, or an option does not fit.
        """
        return check_component(self, part, self.kind).build(*context)

    def options_of(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the keyword-only parameters of a builder, with resolved annotations."""
        signature = inspect.signature(self[name], eval_str=True)
        return {
            key: parameter
            for key, parameter in signature.parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def __getitem__(self, name: str) -> Callable[..., T_co]:
        if name not in self:
            raise UserError(f"no {self.kind} is named {name!r}; {did_you_mean(name, self)}")
        return self._builders.get(name) or self._found[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        if name in self._builders or name in self._found:
            return True
        found = self._elsewhere(str(name)) if self._elsewhere else None
        if found:
            self._found[str(name)] = found
        return found is not None

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._builders)

    def __len__(self) -> int:
        self._load()
        return len(self._builders)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def _load(self) -> None:
        packages, self._packages = self._packages, ()
        for name in packages:
            package = importlib.import_module(name)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{name}.{module.name}")


@dataclass(frozen=True)
class Component(Generic[T_co]):
    """A registered component with all options checked and filled in.

    Attributes:
        name: Name that the component is registered under.
        options: Its options as attributes; those that are components are `Component` objects.
        registry: Registry of the component.
    """

    name: str
    options: Strict
    registry: Registry[T_co] = field(compare=False, repr=False)

    @property
    def builder(self) -> Any:
        """The class or function that is registered under the name."""
        return self.registry[self.name]

    def build(self, *context: Any) -> T_co:
        """Build the component."""
        return self.registry[self.name](*context, **dict(self.options))

    def with_options(self, **changes: Any) -> "Component[T_co]":
        """Return the component with some options changed, checked again.

        Raises:
            UserError: The component has no such option, or a value does not fit.
        """
        return check_component(self.registry, {**self.to_dict(), **changes}, self.registry.kind)

    def to_dict(self) -> dict[str, Any]:
        """Return {"name": name, option: value, ...} in plain values, as in YAML and JSON."""
        return {"name": self.name, **self.options.model_dump(mode="json")}


class ComponentOf:
    """Annotation of an option that names a component.

    `Annotated[Component[Loss], ComponentOf(LOSSES)]` is a loss.

    Args:
        registry: Registry in which the name is looked up.
        default: Name that is used if a mapping of options has none.
        number_is: Name of the component that a plain number means, as its option `value`.
    """

    def __init__(
        self, registry: Registry[Any], default: str | None = None, number_is: str | None = None
    ) -> None:
        self.registry = registry
        self.default = default
        self.number_is = number_is
        self._describing = False

    def check(self, value: Any) -> Component[Any]:
        """Check one component; pydantic reports the errors with the path of the option."""
        if isinstance(value, Component):
            value = value.to_dict()
        if self.number_is and isinstance(value, int | float | str) and not isinstance(value, bool):
            value = {"name": self.number_is, "value": value}  # PyYAML reads 1e-4 as a string
        elif isinstance(value, str):
            value = {"name": value}
        elif isinstance(value, Mapping) and self.default:
            value = {"name": self.default, **value}
        kind = self.registry.kind
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "part", "a {kind} is written as its name, or as name: with options", {"kind": kind}
            )
        name = value["name"]
        if name not in self.registry:
            raise PydanticCustomError(
                "part_name",
                "no {kind} is named {name}; {hint}",
                {"kind": kind, "name": short(name), "hint": did_you_mean(name, self.registry)},
            )
        given = {key: option for key, option in value.items() if key != "name"}
        return Component(name, nested(options_model(self.registry, name), given), self.registry)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            self.check,
            serialization=core_schema.plain_serializer_function_ser_schema(Component.to_dict),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        if self._describing:  # a component within a component of its kind, which may have no end
            return {}
        self._describing = True
        try:
            return self._json_schema()
        finally:
            self._describing = False

    def _json_schema(self) -> dict[str, Any]:
        choices: list[dict[str, Any]] = [
            {"const": name, "description": summary(self.registry[name])}
            for name in sorted(self.registry)
        ]
        if self.number_is:
            text = summary(self.registry[self.number_is])
            choices = [{"type": "number", "description": text}]
        for name in self.registry:
            part = options_model(self.registry, name).model_json_schema()
            const = {"const": name, "description": summary(self.registry[name])}
            part["properties"] = {"name": const, **part.get("properties", {})}
            named = [] if name == self.default else ["name"]
            part["required"] = [*named, *part.get("required", [])]
            part.pop("title", None)
            choices.append(part)
        return {"anyOf": choices}


def written(default: Any) -> Any:
    """Declare a default as it is written in YAML, which is then checked like a given value."""
    return Field(default)


@cache
def options_model(registry: Registry[Any], name: str) -> type[Strict]:
    """Return a pydantic model of a component's options, made from the signature of its builder.

    Its docstring, and the descriptions of its fields, are those of the builder's docstring.
    """
    builder = registry[name]
    texts = entries(builder, "Attributes") | entries(builder, "Args")
    fields: dict[str, Any] = {
        key: (
            parameter.annotation,
            Field(
                ... if parameter.default is parameter.empty else parameter.default,
                description=texts.get(key),
            ),
        )
        for key, parameter in registry.options_of(name).items()
    }
    return create_model(f"{name}_options", __base__=Strict, __doc__=summary(builder), **fields)


def check_component(registry: Registry[T], value: Any, where: str) -> Component[T]:
    """Check a component outside an options file.

    Args:
        value: A `Component`, a name, or a mapping with "name" and options.

    Raises:
        UserError: The name is not registered, or an option does not fit.
    """
    try:
        return ComponentOf(registry).check(value)
    except PydanticCustomError as error:
        path = ".".join(map(str, (error.context or {}).get("path", ())))
        raise UserError(f"{where}: {path + ': ' if path else ''}{error.message()}") from error


def nested(model: type[Strict], value: Any) -> Any:
    """Check a nested model; its first error is reported with the path of the outer option."""
    if isinstance(value, model):
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        path, message = first_error(error)
        context = {"message": message, "path": path}
        raise PydanticCustomError("part_option", "{message}", context) from error


def check_model(model: type[S], content: Any, where: str) -> S:
    """Check options by their model.

    Raises:
        UserError: One is missing, unknown or does not fit; the message names it after `where`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        path, message = first_error(error)
        place = ".".join(map(str, path))
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}") from error


def first_error(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Return the path and the message of the first error, including those of nested components."""
    first = error.errors(include_url=False)[0]
    path, message = tuple(key for key in first["loc"] if key not in (_ONE, _LIST)), first["msg"]
    context = first.get("ctx", {})
    if first["type"] == "part_option":
        path = (*path, *context["path"])
    elif first["type"] == "missing":
        message = "is missing"
    elif first["type"] not in ("unknown_key", "part", "part_name", "source", "name", "model"):
        message = f"{message}, got {short(first['input'])}"
    return path, message
