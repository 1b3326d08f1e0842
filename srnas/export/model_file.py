"""Model files: safetensors that carry what rebuilds their network; and published weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.files import load_tensors, write_atomic
from srnas.spaces import derived_network, published_genotype, read_published
from srnas.spaces.options import check_space

FORMAT = "srnas-model"
VERSION = 1
UPSAMPLER = "upsample."  # the part of a network that its scale shapes


@dataclass(frozen=True)
class Model:
    """A derived network with the space options and the genotype that it was built from."""

    network: nn.Module
    space: dict[str, Any]
    genotype: Genotype
    provenance: dict[str, Any]

    @property
    def scale(self) -> int:
        """The factor it enlarges by; UserError for a classifier, which does not."""
        if "scale" not in self.space:
            raise UserError(
                f"a network of space {self.space['name']!r} classifies images: no scale"
            )
        return self.space["scale"]


def save_model(path: Path, model: Model) -> None:
    """Write model.safetensors: weights, space, genotype and provenance, atomically."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "space": model.space,
        "genotype": model.genotype.to_dict(),
        "provenance": model.provenance,
    }
    # One entry: safetensors writes several in random order, and equal models in equal bytes
    # are worth having.
    metadata = {FORMAT: json.dumps(description)}
    tensors = {key: t.detach().cpu().contiguous() for key, t in model.network.state_dict().items()}
    write_atomic(path, serialize(tensors, metadata))


def load_model(path: Path) -> Model:
    """Rebuild the network of a model file; UserError if it is not one, or broken."""
    tensors, metadata = _read_safetensors(path)
    if FORMAT not in metadata:
        raise UserError(
            f"{path}: not an srnas model file; for a foreign weight file use --weights with --space"
        )
    try:
        description = json.loads(metadata[FORMAT])
        version = description["version"]
        space, genotype, provenance = (
            description[key] for key in ("space", "genotype", "provenance")
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: its description of the network is broken ({error})") from error
    if version != VERSION:
        raise UserError(f"{path}: model version {version}; this srnas reads {VERSION}")
    space = check_space(space, str(path))
    genotype = Genotype.from_dict(genotype, str(path))
    network = derived_network(space, genotype)
    _load(network, tensors, path)
    return Model(network.eval(), space, genotype, provenance)


def load_published(path: Path, space: dict[str, Any], genotype: Genotype | None = None) -> Model:
    """A weight file (state dict or safetensors) for a space's network, of the file's width.

    Takes the authors' key names and ours, a state dict alone or under "params_ema", "params"
    or "state_dict" (BasicSR's and others' checkpoints). genotype: default the space's
    published network. UserError if the file belongs to another network.
    """
    genotype = genotype or published_genotype(space["name"])
    state = _read_weights(path)
    settled, tensors = read_published(space["name"], state)
    space = check_space({**space, **settled}, str(path))
    network = derived_network(space, genotype)
    _load(network, tensors, path)
    return Model(network.eval(), space, genotype, {"weights": Path(path).name})


def warm_start(network: nn.Module, path: Path, space: dict[str, Any]) -> list[str]:
    """Load a model or weight file into a network of `space`, but for its upsampler if that is
    of another scale; the names of the tensors that stay as they are.

    UserError if the file's other weights are not those of this network.
    """
    tensors = _read_weights(path)
    _, state = read_published(space["name"], tensors)
    ours = network.state_dict()
    fresh = [
        key
        for key in ours
        if key.startswith(UPSAMPLER) and key in state and state[key].shape != ours[key].shape
    ]
    _load(network, {**state, **{key: ours[key] for key in fresh}}, path)
    return fresh


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model file, a safetensors file or a state dict."""
    return _read_safetensors(path)[0] if Path(path).suffix == ".safetensors" else _read_state(path)


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


def _load(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected]
    if missing or foreign:
        told = [f"lacks {missing[0]}"] if missing else []
        told += [f"has {foreign[0]}"] if foreign else []
        raise UserError(f"{path}: weights of another network ({', '.join(told)})")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"{path}: {key} is {tuple(tensor.shape)}, this network needs "
                f"{tuple(expected[key].shape)}; check space, scale and genotype"
            )
    network.load_state_dict(state)
