#!/usr/bin/env python
"""Write docs/options.md: every option, from the models, the registries and their docstrings.

python tools/options_page.py            # after an option or its docstring has changed
python tools/options_page.py --check    # exit code 1 if the page is not current
"""

import argparse
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from inspect import Parameter, isclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from annotated_types import MinLen, MultipleOf
from pydantic_core import PydanticUndefined

from srnas.components import Component, ComponentOf, Registry, Strict
from srnas.docstrings import entries, summary
from srnas.methods import ABOUT, RECIPE_KEYS
from srnas.options import RunOptions, SearchOptions, TrainOptions, options_models
from srnas.schemas import OF_METHODS
from srnas.table.protocol import Protocol
from srnas.table.study import Study

PAGE = Path(__file__).parents[1] / "docs/options.md"
SHARED = {"search": SearchOptions, "train": TrainOptions}
HUGE = 2**31 - 1  # bounds from here on only keep numbers within machine integers
WORDS = {int: "integer", float: "number", bool: "`true`, `false`", str: "text", Path: "path"}
MANY = {int: "integers", float: "numbers", str: "texts", Path: "paths"}
REQUIRED = "*required*"
METHOD_KEYS = [*(f"about.{key}" for key in ABOUT), *(f"on.SPACE.{key}" for key in RECIPE_KEYS)]
INTRO = """\
# Options

This page lists every option of the files that srnas reads. `tools/options_page.py` makes it from
the code. [Searching and training](searching.md) explains how the options work together, the
[Glossary](glossary.md) explains the terms.

Editors with a YAML language server show the same descriptions while you type. Write the schema
into a file, `srnas schema search > search.schema.json` (or `train`, `test`, `method`, `study`,
`table`), and name it in the first line of the options:
`# yaml-language-server: $schema=search.schema.json`. `srnas init` does both.

- A key that is not listed here is an error.
- On the command line, `key.path=value` sets an option: `data.batch_size=32`, `space.num_feat=48`.
- A *component* (a space, a loss, a schedule, ...) is written as its name, `relaxation: dirichlet`,
  or as its name with options, `relaxation: {name: softmax, temperature: 2}`. The components are
  listed at the end.
- A *schedule* is a value over the run. A plain number is a constant schedule.
- An option with the default *none* is not set.
"""


class Row(NamedTuple):
    """An option.

    Attributes:
        name: Its name.
        annotation: Its type, with bounds.
        default: Its default, `PydanticUndefined` if it has none.
        text: Its description.
    """

    name: str
    annotation: Any
    default: Any
    text: str


def options_of_model(model: type[Strict]) -> list[Row]:
    """Return the options of a model."""
    hints = typing.get_type_hints(model, include_extras=True)
    texts = entries(model, "Attributes")
    return [
        Row(name, hints[name], field.default, texts.get(name, ""))
        for name, field in model.model_fields.items()
    ]


def options_of_part(registry: Registry[Any], name: str) -> list[Row]:
    """Return the options of a registered component."""
    texts = entries(registry[name], "Attributes") | entries(registry[name], "Args")
    return [
        Row(
            key,
            parameter.annotation,
            PydanticUndefined if parameter.default is Parameter.empty else parameter.default,
            texts.get(key, ""),
        )
        for key, parameter in registry.options_of(name).items()
    ]


def added(model: type[Strict], base: type[Strict]) -> list[Row]:
    """Return the options of a model that its base does not have in the same form."""
    known = {row.name: row.annotation for row in options_of_model(base)}
    return [row for row in options_of_model(model) if known.get(row.name) != row.annotation]


def kind_of(annotation: Any) -> str:
    """Return a type in words, with bounds and links."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner, *more = arguments
        for one in more:
            if isinstance(one, ComponentOf):
                return f"[{one.registry.kind}]({anchor(plural(one.registry.kind))})"
        return kind_of(inner) + bounds(more)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind_of(one) for one in arguments if one is not type(None)]
        return ", or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return ", ".join(f"`{in_yaml(value)}`" for value in arguments)
    if origin is list:
        return f"list of {several(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)} {several(arguments[0])}" + (
            "" if len(set(arguments)) == 1 else f" ({', '.join(map(kind_of, arguments))})"
        )
    if origin is dict:
        return "mapping" if arguments[1] is Any else f"mapping of names to {several(arguments[1])}"
    if isclass(annotation) and issubclass(annotation, Strict):
        return f"[{title(annotation)}]({anchor(title(annotation))})"
    return WORDS.get(annotation, "any value")


def several(annotation: Any) -> str:
    """Return the plural of a type in words."""
    origin = typing.get_origin(annotation)
    inner = typing.get_args(annotation)[0] if origin is typing.Annotated else annotation
    if any(isinstance(one, ComponentOf) for one in typing.get_args(annotation)[1:]):
        word, _, link = kind_of(annotation)[1:].partition("]")
        return f"[{plural(word).lower()}]{link}"
    if inner in MANY:
        return MANY[inner] + kind_of(annotation).removeprefix(WORDS[inner])
    if typing.get_origin(inner) is tuple:
        return "pairs" if len(typing.get_args(inner)) == 2 else "lists"
    return kind_of(annotation)


def bounds(metadata: Iterable[Any]) -> str:
    """Return bounds in words: ", 1 to 1024"."""
    ge = gt = le = lt = None
    words = []
    for one in metadata:
        ge, gt = getattr(one, "ge", ge), getattr(one, "gt", gt)
        le, lt = getattr(one, "le", le), getattr(one, "lt", lt)
        if isinstance(one, MultipleOf):
            words.append(f"multiple of {one.multiple_of}")
        elif isinstance(one, MinLen):
            words.append("not empty" if one.min_length == 1 else f"{one.min_length} or more")
    le = None if le is not None and le >= HUGE else le
    lt = None if lt is not None and lt >= HUGE else lt
    if ge is not None and le is not None:
        words.insert(0, f"{ge} to {le}")
    else:
        ends = (("at least", ge), ("above", gt), ("at most", le), ("below", lt))
        words[:0] = [f"{word} {value}" for word, value in ends if value is not None]
    return "".join(f", {word}" for word in words)


def in_yaml(value: Any) -> str:
    """Return a value as it is written in YAML, on one line."""
    if isinstance(value, float) and len(repr(value)) > 8:
        return f"{value:.4g}"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, Strict):
        value = value.model_dump(mode="json", exclude_unset=True)
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=999)
    return text.removesuffix("\n").removesuffix("\n...")


def default_of(row: Row) -> str:
    """Return the default of an option."""
    part = next((p for p in part_annotations(row.annotation)), None)
    if row.default is PydanticUndefined:
        return REQUIRED
    if row.default is None:
        return "*none*"
    if isinstance(row.default, Mapping) and part and not set(row.default) - {"name", "value"}:
        value = row.default.get("value", row.default.get("name", part.default))
        return f"`{in_yaml(value)}`"
    if isinstance(row.default, Strict) and not row.default.model_fields_set:
        return "*its defaults*"
    return f"`{in_yaml(row.default)}`"


def part_annotations(annotation: Any) -> Iterator[ComponentOf]:
    """Yield the components that a type names, at any depth."""
    if isinstance(annotation, ComponentOf):
        yield annotation
    for one in typing.get_args(annotation):
        if typing.get_origin(one) is not Component:
            yield from part_annotations(one)
    for one in getattr(annotation, "__metadata__", ()):
        yield from part_annotations(one)


def models_in(annotation: Any) -> Iterator[type[Strict]]:
    """Yield the models that a type names, at any depth."""
    if isclass(annotation) and issubclass(annotation, Strict):
        yield annotation
    for one in typing.get_args(annotation):
        yield from models_in(one)


def title(model: type[Strict]) -> str:
    """Return the title of a group of options: "Search images"."""
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", model.__name__).capitalize()


def plural(kind: str) -> str:
    """Return the title of a registry: "Update rules"."""
    return kind.capitalize() + ("es" if kind.endswith("s") else "s")


def anchor(heading: str) -> str:
    """Return the link to a heading of this page."""
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


class Page:
    """The page; it lists the groups and components that the options on it name."""

    def __init__(self) -> None:
        self.lines = [INTRO]
        self.groups: dict[type[Strict], None] = {}
        self.registries: dict[Registry[Any], None] = {}

    def write(self, *lines: str) -> None:
        """Add paragraphs."""
        self.lines += [line + "\n" for line in lines]

    def table(self, rows: Iterable[Row]) -> None:
        """Add a table of options."""
        cells = [("option", "type", "default", "description")]
        for row in rows:
            for model in models_in(row.annotation):
                self.groups.setdefault(model)
            for part in part_annotations(row.annotation):
                self.registries.setdefault(part.registry)
            cells.append((f"`{row.name}`", kind_of(row.annotation), default_of(row), row.text))
        if len(cells) > 1:
            cells.insert(1, ("---",) * 4)
            lines = (" | ".join(cell.replace("|", r"\|") for cell in row) for row in cells)
            self.write("\n".join(f"| {line} |" for line in lines))

    def model(self, heading: str, model: type[Strict]) -> None:
        """Add a heading and a table of all options of a model."""
        self.write(heading, summary(model))
        self.table(options_of_model(model))


def page() -> str:
    """Return the page."""
    made = Page()
    made.write("## Every run", "Options of searches and trainings alike.")
    made.table(row for row in options_of_model(RunOptions) if row.name not in ("data", "loss"))
    for kind, base in SHARED.items():
        made.write("## Searches" if kind == "search" else "## Trainings")
        made.write(f"Options of `srnas {kind}`, in addition to those of every run.")
        made.table(row for row in added(base, RunOptions) if row.name not in ("data", "loss"))
        for task, model in options_models(kind).items():
            made.write(f"### {task.replace('_', '-').capitalize()}: `srnas {kind}`", summary(model))
            made.table(added(model, base))
    for model in options_models("test").values():
        made.model("## Benchmarks", model)
    made.write(
        "## Methods",
        "A method is a file in `options/methods`: options of a search, and these:",
        "| option | description |\n| --- | --- |\n"
        + "\n".join(f"| `{key}` | {OF_METHODS[key.split('.')[-1]]} |" for key in METHOD_KEYS),
        "Beside `source`, `open` and `like`, `on.SPACE` has the options that the source fixed. "
        "`on: {SPACE: NAME}` is short for `on: {SPACE: {like: NAME}}`.",
    )
    made.model("## Studies", Study)
    made.model("## Tables", Protocol)
    made.write("## Groups of options", "Mappings that the options above contain.")
    written: set[type[Strict]] = set()
    while rest := [model for model in made.groups if model not in written]:
        written.add(rest[0])
        made.model(f"### {title(rest[0])}", rest[0])
    made.write("## Components", "What the options above name.")
    listed: set[Registry[Any]] = set()
    while left := [registry for registry in made.registries if registry not in listed]:
        listed.add(left[0])
        made.write(f"### {plural(left[0].kind)}")
        for name in left[0]:
            made.write(f"#### `{name}`", summary(left[0][name]))
            made.table(options_of_part(left[0], name))
        if left[0].kind == "loss":
            made.write("The losses of BasicSR can be named as well, with BasicSR's own options.")
    return "\n".join(made.lines)


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    check = parser.parse_args().check
    text = page()
    if not check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit("docs/options.md is not current; run: python tools/options_page.py")


if __name__ == "__main__":
    main()
