"""What parts of a trained network can be replaced by."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from operator import ne
from typing import Any

import torch

from srnas.choice import Genotype, Space
from srnas.components import Component
from srnas.cost import count_macs
from srnas.errors import UserError
from srnas.model_file import Model
from srnas.spaces import (
    check_space,
    derived_network,
    open_choices,
    published_genotype,
    space_class,
    spelled_out,
)

LARGEST = 64  # alternatives of one part
SIDE = 32  # pixels of the image that MACs are compared on


@dataclass(frozen=True, eq=False)
class Alternative:
    """Other values of some choices, which replace one module of the network.

    Attributes:
        changes: The values by label.
        scope: Name of the module, "" for the network.
        covers: Labels of all choices that it decides; no other alternative may change them.
    """

    changes: Mapping[str, Any]
    scope: str
    covers: frozenset[str]

    def __str__(self) -> str:
        """Return the changes as text."""
        return " ".join(f"{label}={value}" for label, value in self.changes.items())


@dataclass(frozen=True)
class Original:
    """A trained network in a space in which its parts have choices of their own.

    Attributes:
        network: The network, in evaluation mode, without gradients.
        space: The space.
        genotype: Its genotype there.
    """

    network: Space
    space: Component[Space]
    genotype: Genotype

    def changed(self, changes: Mapping[str, Any]) -> Space:
        """Build the network with some choices changed, randomly initialized."""
        return derived_network(self.space, self.changed_genotype(changes))

    def changed_genotype(self, changes: Mapping[str, Any]) -> Genotype:
        """Return the genotype with some choices changed."""
        return replace(self.genotype, choices={**self.genotype.choices, **changes})


def open_model(model: Model, file: str, options: Mapping[str, Any]) -> Original:
    """Give the parts of a trained network choices of their own.

    Args:
        model: The network.
        file: Its name in error messages.
        options: Options of the space that go over those of `Space.opened`.

    Raises:
        UserError: Its space cannot be opened, or the options do not fit.
    """
    own = dict(model.space.options)
    opened = space_class(model.space.name).opened(own)
    if opened is None:
        raise UserError(
            f"{file}: a network of space {model.space.name!r}, whose parts have no cheaper "
            "alternatives; train another network with this one as its teacher"
        )
    space = check_space({"name": model.space.name, **own, **opened, **options}, f"{file}: space")
    chosen = {**published_genotype(space).choices, **model.genotype.choices}
    try:
        genotype = spelled_out(space, Genotype(space.name, chosen))
    except UserError as error:
        raise UserError(f"{error}; offer what the network has, too") from None
    network = derived_network(space, genotype)
    network.load_state_dict(model.network.state_dict())
    return Original(network.eval().requires_grad_(False), space, genotype)


def list_alternatives(original: Original) -> list[Alternative]:
    """Return everything cheaper that the parts of a network can be replaced by.

    Raises:
        UserError: There is nothing.
    """
    kind = type(original.network)
    choices = {choice.label: choice for choice in open_choices(original.space).whole}
    labels: dict[str, list[str]] = {}
    for label in choices:
        scope = kind.scope(label)
        if scope is not None:
            labels.setdefault(scope, []).append(label)
    found = []
    base = _macs(original, {})
    known: dict[str, int] = {}  # equal changes of equal modules
    effects = set[tuple[Any, ...]]()  # of alternatives that make the same module, one will do
    for scope, own in labels.items():
        inner = [name for s, names in labels.items() if _inside(s, scope) for name in names]
        values = [choices[label].alternatives() for label in own]
        layers = layers_of(original.network, scope)
        now = [original.genotype.choices[label] for label in own]
        for chosen in sorted(product(*values), key=lambda one: sum(map(ne, one, now))):
            changes = dict(zip(own, chosen, strict=True))
            key = (chosen, [label.rpartition("/")[2] for label in own], layers)
            macs = known.get(str(key))
            if macs is None:
                macs = known[str(key)] = _macs(original, changes)
            if macs < base and (effect := _effect(original, scope, changes)) not in effects:
                effects.add(effect)
                covers = frozenset({*own, *inner})
                kept = {k: v for k, v in changes.items() if v != original.genotype.choices[k]}
                found.append(Alternative(kept, scope, covers))
    if not found:
        raise UserError("nothing in this network can be replaced by something cheaper")
    return found


def layers_of(network: Space, scope: str) -> tuple[Any, ...]:
    """Return what is equal in modules of equal layers: names, types and shapes."""
    module = network.get_submodule(scope)
    types = [f"{name}: {type(inner).__name__}" for name, inner in module.named_modules()]
    return (*types, *((key, tuple(t.shape)) for key, t in module.state_dict().items()))


def _effect(original: Original, scope: str, changes: Mapping[str, Any]) -> tuple[Any, ...]:
    with torch.device("meta"):
        return scope, *layers_of(original.changed(changes), scope)


def _inside(name: str, scope: str) -> bool:
    return bool(scope) and name.startswith(f"{scope}.")


def _macs(original: Original, changes: Mapping[str, Any]) -> int:
    with torch.device("meta"):
        network = original.changed(changes)
    side = max(SIDE, network.min_size)
    return count_macs(network, side, side)
