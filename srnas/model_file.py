"""Model files (safetensors that describe their network), and published weight files.

The description, space and genotype, is there twice: with the provenance in the metadata, and alone
in a tensor for programs that read nothing but tensors (`srnas.spandrel_plugin`). The shapes do not
replace it: those of a dilated convolution and of a plain one are equal.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from srnas.choice import Genotype, Space
from srnas.choice.genotype import check_provenance
from srnas.components import Component
from srnas.documents import parse_json
from srnas.errors import UserError, one_line, short
from srnas.files import check_file, load_tensors, write_atomic
from srnas.primitives.reparameterized import merge_convolutions
from srnas.spaces import (
    SPACES,
    SpaceLike,
    check_space,
    derived_network,
    published_genotype,
    read_published,
    space_class,
)

FORMAT = "srnas-model"  # the entry of the metadata
NETWORK = "srnas_network"  # the tensor, (N,) uint8: JSON in UTF-8
VERSION = 2
READ_VERSIONS = (1, 2)  # 1 has no tensor
SCALES = (2, 3, 4)  # of published networks
DEFAULT = "default"  # the name of the model in the package
DEFAULT_FILE = Path(__file__).parent / "models" / "imdn_x2.safetensors"


class UnknownNetworkError(UserError):
    """Report weights that are those of no network that srnas knows."""


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
    space: Component[Space]
    genotype: Genotype
    provenance: dict[str, Any]


Description: TypeAlias = tuple[Component[Space], Genotype, dict[str, Any]]
"""Space, genotype and provenance."""


def save_model(path: Path, model: Model) -> None:
    """Write a model file, atomically: weights, space, genotype and provenance."""
    network = {
        "format": FORMAT,
        "version": VERSION,
        "space": model.space.to_dict(),
        "genotype": replace(model.genotype, provenance={}).to_dict(),
    }
    made = {"genotype": model.genotype.to_dict(), "provenance": model.provenance}
    # A single entry: safetensors writes several in random order, and equal models should be equal
    # files.
    metadata = {FORMAT: json.dumps(network | made)}
    tensors = {key: t.detach().cpu().contiguous() for key, t in model.network.state_dict().items()}
    text = json.dumps(network, sort_keys=True)
    tensors[NETWORK] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    write_atomic(path, serialize(tensors, metadata))


def merged(model: Model) -> Model:
    """Return a model without what only training needs, see `Space.merge`; its network is a copy."""
    network = copy.deepcopy(model.network)
    merge_convolutions(network)
    changed = network.merge()
    return replace(model, network=network, space=model.space.with_options(**changed))


def load_model(path: Path) -> Model:
    """Rebuild the network of a model file, or of a published weight file, in evaluation mode.

    `default` is the model in the package, unless there is a file of this name. A weight file is
    recognized if its tensors are those of the published network of a space, with the authors' key
    names or ours, at any width and scale.

    Raises:
        UnknownNetworkError: Its network is not recognized.
        UserError: The file is missing or broken.
    """
    if str(path) == DEFAULT and not Path(path).exists():
        path = DEFAULT_FILE
    tensors, metadata = _read_tensors(path)
    described = _take_description(tensors, metadata, str(path))
    if described is None:
        space = _recognize(tensors)
        if space is None:
            raise UnknownNetworkError(
                f"{path}: not an srnas model file, nor the weights of a published network; name "
                "its network: srnas convert FILE --space NAME --genotype FILE --out FILE"
            )
        return load_published(path, space)
    return _rebuild(tensors, described, str(path))


def load_state(state: Mapping[str, Tensor]) -> Model:
    """Rebuild the network of a model file from its tensors alone, in evaluation mode, on the CPU.

    Args:
        state: All tensors of the file, its description `NETWORK` among them.

    Returns:
        The model, without provenance.

    Raises:
        UserError: The description is missing or broken, or of another network.
    """
    tensors, where = dict(state), "state dict"
    described = _take_description(tensors, {}, where)
    if described is None:
        raise UserError(f"{where}: not an srnas model file, it has no tensor {NETWORK}")
    return _rebuild(tensors, described, where)


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
    genotype = genotype or published_genotype(space)
    tensors, settled, made_with = _read_weights(path, space.name)
    space = check_space({**space.to_dict(), **settled}, f"{path}: space")
    network = derived_network(space, genotype)
    _load(network, _adapt(network, tensors, made_with, str(path)), str(path))
    return merged(Model(network.eval(), space, genotype, {"weights": Path(path).name}))


def warm_start(network: Space, path: Path, space: str, where_fitting: bool = False) -> list[str]:
    """Load weights into a network, except those whose shape depends on the scale and differs.

    Args:
        network: The network.
        path: A model file or weight file.
        space: Name of the network's space.
        where_fitting: Whether weights of the file that do not fit are left out.

    Returns:
        Names of the tensors that keep their values, see `Space.rescaled`.

    Raises:
        UserError: The other weights of the file do not fit the network, or none of them does.
    """
    tensors, _, made_with = _read_weights(path, space)
    state = _adapt(network, tensors, made_with, str(path))
    ours = network.state_dict()

    def fits(key: str) -> bool:
        return key in state and state[key].shape == ours[key].shape

    if where_fitting:
        fresh = [key for key in ours if not fits(key)]
        state = {key: state[key] for key in ours if fits(key)}
        if not state:
            raise UserError(
                f"{path}: none of its weights fits this network; check space and genotype"
            )
    else:
        rescaled = space_class(space).rescaled
        fresh = [k for k in ours if k.startswith(rescaled) and k in state and not fits(k)]
    _load(network, {**state, **{key: ours[key] for key in fresh}}, str(path))
    return fresh


def _read_weights(
    path: Path, space: str
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read a model file, a safetensors file or a state dict of a network of a space.

    Returns:
        The tensors under our names, the space options that they determine, and the options that
        their network was built with, as far as known.
    """
    tensors, metadata = _read_tensors(path)
    described = _take_description(tensors, metadata, str(path))
    try:
        settled, tensors = read_published(space, tensors)
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{path}: weights of another network ({short(error)})") from error
    return tensors, settled, described[0].to_dict() if described else settled


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file, see `load_published`.

    Raises:
        UserError: The file is missing or broken.
    """
    return _read_tensors(path)[0]


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and metadata of a safetensors file, or of a state dict (no metadata)."""
    check_file(path)
    with open(path, "rb") as file:
        begins = file.read(9)
    if Path(path).suffix == ".safetensors" or begins[8:] == b"{":
        return _read_safetensors(path)
    return _read_state(path), {}


def _recognize(tensors: Mapping[str, Tensor]) -> Component[Space] | None:
    """Return the space whose published network has exactly these tensors, or None."""
    for name in SPACES:
        if space_class(name).published is None:
            continue
        scales = SCALES if "scale" in SPACES.options_of(name) else (None,)
        for scale in scales:
            try:
                options, ours = read_published(name, tensors)
                at_scale = {} if scale is None else {"scale": scale}
                space = check_space({"name": name, **options, **at_scale})
            except (UserError, ValueError, TypeError, LookupError):  # weights of another network
                break
            with torch.device("meta"):
                network = derived_network(space, published_genotype(name)).state_dict()
            if _shapes(network) == _shapes(ours):
                return space
    return None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in state.items()}


def _rebuild(tensors: dict[str, Tensor], described: Description, where: str) -> Model:
    space, genotype, provenance = described
    network = derived_network(space, genotype)
    _load(network, tensors, where)
    return Model(network.eval(), space, genotype, provenance)


def _take_description(
    tensors: dict[str, Tensor], metadata: Mapping[str, str], where: str
) -> Description | None:
    """Take the description out of the tensors, and return it; None if there is none.

    Raises:
        UserError: It is broken, or the metadata describe another network.
    """
    tensor = tensors.pop(NETWORK, None)
    carried = None if tensor is None else _read_tensor(tensor, f"{where}: {NETWORK}")
    if FORMAT not in metadata:
        return carried
    described = _read_description(metadata[FORMAT], where)
    if carried and carried[:2] != described[:2]:
        raise UserError(f"{where}: its metadata and its {NETWORK} describe different networks")
    return described


def _read_tensor(tensor: Tensor, where: str) -> Description:
    if not torch.is_tensor(tensor) or tensor.dtype != torch.uint8 or tensor.ndim != 1:
        raise UserError(f"{where}: not a tensor of bytes, (N,) uint8")
    try:
        text = tensor.cpu().numpy().tobytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error})") from error
    return _read_description(text, where)


def _read_description(text: str, where: str) -> Description:
    description = parse_json(text, f"{where}: broken description of the network")
    try:
        version = description["version"]
        space, genotype = description["space"], description["genotype"]
        provenance = description.get("provenance", {})  # the tensor has none
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: broken description of the network ({error})") from error
    if version not in READ_VERSIONS:
        known = " and ".join(map(str, READ_VERSIONS))
        raise UserError(f"{where}: model version {short(version)}; this srnas reads {known}")
    checked = check_space(space, f"{where}: space")
    return checked, Genotype.from_dict(genotype, where), check_provenance(provenance, where)


def _read_state(path: Path) -> dict[str, Tensor]:
    content = load_tensors(path)
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UserError(f"{path}: key {short(key)} is not a name; expected a plain state dict")
        if not torch.is_tensor(value):
            raise UserError(f"{path}: {short(key)} is not a tensor; expected a plain state dict")
    return dict(content)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: not a whole safetensors file ({one_line(str(error), 200)})"
        ) from error


def _adapt(
    network: Space, tensors: Mapping[str, Tensor], made_with: Mapping[str, Any], where: str
) -> dict[str, Tensor]:
    try:
        return network.adapt_weights(tensors, made_with)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except RuntimeError as error:  # sparse or quantized tensors
        raise UserError(f"{where}: not plain tensors ({one_line(str(error), 200)})") from error


def _load(network: Space, state: dict[str, Tensor], where: str) -> None:
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    foreign = [key for key in state if key not in expected]
    if missing or foreign:
        why = [f"lacks {missing[0]}"] if missing else []
        why += [f"has {foreign[0]}"] if foreign else []
        raise UserError(f"{where}: weights of another network ({', '.join(why)})")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"{where}: {key} is {tuple(tensor.shape)}, this network needs "
                f"{tuple(expected[key].shape)}; check space, scale and genotype"
            )
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # sparse or quantized tensors
        raise UserError(f"{where}: not plain tensors ({one_line(str(error), 200)})") from error
