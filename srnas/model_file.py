"""Model files (safetensors that describe their network), and published weight files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from srnas.choice import Genotype, Space
from srnas.errors import UserError
from srnas.files import load_tensors, write_atomic
from srnas.parts import Part
from srnas.spaces import (
    SpaceLike,
    check_space,
    derived_network,
    published_genotype,
    read_published,
    space_class,
)

FORMAT = "srnas-model"
VERSION = 1


@dataclass(frozen=True)
class Model:
    """A derived network with the space and the genotype that it was built from.

    Attributes:
        network: The network.
        space: Its space with all options.
        genotype: Its genotype.
        provenance: Options, step, validation and versions of its training; the file name for
            published weights.
    """

    network: Space
    space: Part[Space]
    genotype: Genotype
    provenance: dict[str, Any]


def save_model(path: Path, model: Model) -> None:
    """Write a model file, atomically: weights, space, genotype and provenance."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "space": model.space.to_dict(),
        "genotype": model.genotype.to_dict(),
        "provenance": model.provenance,
    }
    # A single entry: safetensors writes several in random order, and equal models should be equal
    # files.
    metadata = {FORMAT: json.dumps(description)}
    tensors = {key: t.detach().cpu().contiguous() for key, t in model.network.state_dict().items()}
    write_atomic(path, serialize(tensors, metadata))


def load_model(path: Path) -> Model:
    """Rebuild the network of a model file, in evaluation mode.

    Raises:
        UserError: The file is missing, broken, or not a model file.
    """
    tensors, metadata = _read_safetensors(path)
    if FORMAT not in metadata:
        raise UserError(
            f"{path}: not an srnas model file; for a foreign weight file use --weights with --space"
        )
    space, genotype, provenance = _read_description(metadata[FORMAT], path)
    network = derived_network(space, genotype)
    _load(network, tensors, path)
    return Model(network.eval(), space, genotype, provenance)


def load_published(path: Path, space: SpaceLike, genotype: Genotype | None = None) -> Model:
    """Load a weight file into a network of a space, in evaluation mode.

    The file is a state dict or safetensors, with the authors' key names or ours. A state dict may
    be nested under "params_ema", "params" or "state_dict" (checkpoints of BasicSR and others).
    Options that the file determines, such as the width, are taken from it.

    Args:
        path: The weight file.
        space: The space and its other options.
        genotype: Genotype of the network; by default that of the space's published network.

    Raises:
        UserError: The file is missing or broken, or belongs to another network.
    """
    space = check_space(space, f"{path}: space")
    genotype = genotype or published_genotype(space.name)
    tensors, settled, made_with = _read_weights(path, space.name)
    space = check_space({**space.to_dict(), **settled}, f"{path}: space")
    network = derived_network(space, genotype)
    _load(network, network.adapt_weights(tensors, made_with), path)
    return Model(network.eval(), space, genotype, {"weights": Path(path).name})


def warm_start(network: Space, path: Path, space: str) -> list[str]:
    """Load weights into a network, except those whose shape depends on the scale and differs.

    Args:
        network: The network.
        path: A model file or weight file.
        space: Name of the network's space.

    Returns:
        Names of the tensors that keep their values, see `Space.rescaled`.

    Raises:
        UserError: The other weights of the file do not fit the network.
    """
    tensors, _, made_with = _read_weights(path, space)
    state = network.adapt_weights(tensors, made_with)
    ours = network.state_dict()
    fresh = [
        key
        for key in ours
        if key.startswith(space_class(space).rescaled)
        and key in state
        and state[key].shape != ours[key].shape
    ]
    _load(network, {**state, **{key: ours[key] for key in fresh}}, path)
    return fresh


def _read_weights(
    path: Path, space: str
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read a model file, a safetensors file or a state dict of a network of a space.

    Returns:
        The tensors under our names, the space options that they determine, and the options that
        their network was built with, as far as known.
    """
    if Path(path).suffix == ".safetensors":
        tensors, metadata = _read_safetensors(path)
    else:
        tensors, metadata = _read_state(path), {}
    settled, tensors = read_published(space, tensors)
    if FORMAT not in metadata:
        return tensors, settled, settled
    return tensors, settled, _read_description(metadata[FORMAT], path)[0].to_dict()


def _read_description(text: str, path: Path) -> tuple[Part[Space], Genotype, dict[str, Any]]:
    """Read space, genotype and provenance of a model file."""
    try:
        description = json.loads(text)
        version = description["version"]
        space, genotype, provenance = (
            description[key] for key in ("space", "genotype", "provenance")
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: its description of the network is broken ({error})") from error
    if version != VERSION:
        raise UserError(f"{path}: model version {version}; this srnas reads {VERSION}")
    checked = check_space(space, f"{path}: space")
    return checked, Genotype.from_dict(genotype, str(path)), provenance


def _read_state(path: Path) -> dict[str, Tensor]:
    content = load_tensors(path)
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict")
    foreign = next((k for k, v in content.items() if not torch.is_tensor(v)), None)
    if foreign is not None:
        raise UserError(f"{path}: {foreign!r} is not a tensor; expected a plain state dict")
    return dict(content)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from error


def _load(network: Space, state: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected]
    if missing or foreign:
        why = [f"lacks {missing[0]}"] if missing else []
        why += [f"has {foreign[0]}"] if foreign else []
        raise UserError(f"{path}: weights of another network ({', '.join(why)})")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"{path}: {key} is {tuple(tensor.shape)}, this network needs "
                f"{tuple(expected[key].shape)}; check space, scale and genotype"
            )
    network.load_state_dict(state)
