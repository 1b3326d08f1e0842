"""Search spaces: one network a file, each an `nn.Module` that asks a builder."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from srnas.choice import Derived, Genotype
from srnas.errors import UserError
from srnas.registry import Registry

SPACES = Registry("space")

from srnas.spaces import darts, dlsr, imdn, nasbench201  # noqa: E402, F401  (fills the registry)


def space_builder(space: Mapping[str, Any]) -> Callable[[Any], nn.Module]:
    """{"name": ..., options} -> `build(choose) -> network`, for `Supernet` and `Derived`."""
    arguments = {key: value for key, value in space.items() if key != "name"}
    return partial(_construct, SPACES[space["name"]], arguments)


def derived_network(space: Mapping[str, Any], genotype: Genotype) -> nn.Module:
    """The network that `genotype` describes, in `space` with its options (width, scale, ...).

    Raises UserError if the genotype is of another space or does not fit this one.
    """
    if genotype.space != space["name"]:
        raise UserError(
            f"genotype: made for space {genotype.space!r}, but the options say {space['name']!r}"
        )
    choose = Derived(genotype.flat(SPACES[space["name"]]))
    network = space_builder(space)(choose)
    choose.check_all_used()
    return network


def published_genotype(name: str) -> Genotype:
    """The space's published, hand-made network (IMDN itself for `imdn`)."""
    return Genotype(name, copy.deepcopy(SPACES[name].published), {"source": "published network"})


def read_published(
    name: str, state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(space options that a weight file settles, its tensors under our names).

    By the space's `published_options` and `from_published`; a space without them takes weight
    files with our names only.
    """
    space = SPACES[name]
    options = space.published_options(state) if hasattr(space, "published_options") else {}
    tensors = space.from_published(state) if hasattr(space, "from_published") else dict(state)
    return options, tensors


def _construct(space: Any, arguments: dict[str, Any], choose: Any) -> nn.Module:
    return space(choose, **arguments)
