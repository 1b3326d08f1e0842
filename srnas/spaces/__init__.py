"""Search spaces: one network per module, each a `Space` that asks a builder for its open choices.

A space is registered under its name in YAML. The folders of `srnas.tasks` may also contain spaces.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from srnas.choice import (
    Builder,
    DerivedBuilder,
    Genotype,
    OpenChoices,
    RelaxedBuilder,
    Space,
    Supernet,
)
from srnas.choice.choice import OneOf
from srnas.components import Component, Registry, check_component
from srnas.diagram import Diagram
from srnas.errors import UserError, short

SPACES: Registry[Space] = Registry("space", packages=("srnas.spaces", "srnas.tasks"), base=Space)
SpaceLike = Component[Space] | Mapping[str, Any] | str
"""A checked space, or its form in YAML: its name, or a mapping of name and options."""


def check_space(space: SpaceLike, where: str = "space") -> Component[Space]:
    """Check a space and its options.

    Args:
        space: The space, in one of the forms of `SpaceLike`.
        where: Name of the space in error messages.

    Raises:
        UserError: There is no such space or option, or a value does not fit.
    """
    return space if isinstance(space, Component) else check_component(SPACES, space, where)


def space_class(name: str) -> type[Space]:
    """Return the class of a space; UserError if no space has this name."""
    found = SPACES[name]
    assert isinstance(found, type)
    return found


def space_builder(space: SpaceLike) -> Callable[[Builder], Space]:
    """Return a function that builds the space's network with a builder, for `Supernet`."""
    return check_space(space).build


def is_open(space: SpaceLike) -> bool:
    """Return whether a space, with its options, leaves anything open to search."""
    choose = RelaxedBuilder()
    with torch.device("meta"):
        check_space(space).build(choose)
    return bool(choose.choices)


def open_choices(space: SpaceLike) -> OpenChoices:
    """Return the open choices of a space; UserError if there are none."""
    space = check_space(space)
    return Supernet(space_builder(space), space.name).choices


def derived_network(space: SpaceLike, genotype: Genotype) -> Space:
    """Build the network of a genotype, randomly initialized.

    Args:
        space: The space with its options (width, scale, ...).

    Raises:
        UserError: The genotype belongs to another space or does not fit this one.
    """
    space = check_space(space)
    if genotype.space != space.name:
        raise UserError(
            f"genotype: made for space {genotype.space!r}, but the options say {space.name!r}"
        )
    choose = DerivedBuilder(space_class(space.name).read_choices(genotype.choices), space.name)
    network = space.build(choose)
    choose.check_all_used()
    return network


def published_genotype(space: SpaceLike) -> Genotype:
    """Return the genotype of the space's published network (IMDN itself for `imdn`).

    Raises:
        UserError: The space has none.
    """
    part = check_space(space)
    published = space_class(part.name).published_choices(dict(part.options))
    if published is None:
        raise UserError(f"space {part.name!r} has no published network; name a genotype")
    return Genotype(part.name, copy.deepcopy(dict(published)), {"source": "published network"})


def spelled_out(space: SpaceLike, genotype: Genotype) -> Genotype:
    """Return a genotype with a choice for each group that it has one choice for.

    Raises:
        UserError: It does not fit the space.
    """
    space = check_space(space)
    kind = space_class(space.name)
    choose = DerivedBuilder(kind.read_choices(genotype.choices), space.name)
    with torch.device("meta"):
        space.build(choose)
    return Genotype(space.name, kind.write_choices(choose.values), genotype.provenance)


def read_genotype(space: SpaceLike, text: str) -> Genotype:
    """Read a genotype as `str(genotype)` writes it: "c1=conv_3x3 feat=48 link3=1,2".

    Raises:
        UserError: The text has another form.
    """
    checked = check_space(space)
    kinds = open_choices(checked)
    choices: dict[str, Any] = {}
    for word in text.split():
        label, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word}: write choices as 'c1=conv_3x3 c2=...'")
        kind = kinds.get(label)
        if isinstance(kind, OneOf):
            choices[label] = next((one for one in kind.alternatives() if str(one) == value), value)
        else:
            numbers = value.split(",")
            several = all(number.isdecimal() for number in numbers)
            choices[label] = [int(number) for number in numbers] if several else value
    return Genotype(checked.name, choices)


def draw(space: SpaceLike, choices: Mapping[str, Any]) -> list[Diagram]:
    """Return drawings of a genotype, [] if its space has none, see `Space.draw`."""
    part = check_space(space)
    return space_class(part.name).draw(dict(part.options), choices)


def genotype_space(genotype: Genotype, **changes: Any) -> Component[Space]:
    """Return the space with the options that a genotype was searched with.

    Args:
        genotype: The genotype; its provenance holds the options of the search.
        changes: Options that are set differently, such as the scale.

    Raises:
        UserError: The space of the provenance is broken, or the changes do not fit it.
    """
    made_with = genotype.provenance.get("options", {}).get("space", {"name": genotype.space})
    if not isinstance(made_with, Mapping):
        raise UserError(
            f"genotype: provenance.options.space: {short(made_with)} is not a name with options"
        )
    return check_space({**made_with, **changes}, "genotype: space")


def read_published(
    name: str, state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate a weight file with the authors' parameter names or ours.

    Args:
        name: Name of the space.
        state: Tensors of the file.

    Returns:
        The space options that the file determines, and its tensors under our names.
    """
    space = space_class(name)
    return space.published_options(state), space.from_published(state)
