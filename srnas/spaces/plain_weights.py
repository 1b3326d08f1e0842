"""Weight files of the space `plain`: the authors' names of tensors, and options from shapes."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

RGB = 3
_CONV = re.compile(r"blocks\.(\d+)\.convs\.(\d+)\.(.+)")
_FORMS = {  # a parameter that only this form has
    "bias": "none",
    "latent": "rep_mbconv",
    "edge_scale": "ecb",
    "skip.bias": "conv3xc",
}
_WIDTHS = ("bias", "squeeze.bias")  # parameters with as many values as a convolution has channels
_ATTENTIONS = {"squeeze.bias": "lia", "conv.bias": "gate", "guide.bias": "spanv2"}
_PUBLISHED_IN_LIA = {"0": "squeeze", "2": "shrink", "3": "excite"}


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Return whether the tensors have the names of PlainUSR's released code."""
    return "tail.0.bias" in state and "blockm.body.0.bias" in state


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the authors' file under our names; unknown names are kept."""
    names = {key.partition(".")[0] for key in state if key.startswith("block")}
    numbers = sorted(int(name.removeprefix("block")) for name in names - {"blockm"})
    blocks = [f"block{number}" for number in numbers]
    blocks.insert(len(blocks) // 2, "blockm")  # block1, block2, blockm, block3, block4
    return {_our_key(key, blocks, state): tensor for key, tensor in state.items()}


def read_options(state: Mapping[str, Tensor], authors: bool) -> dict[str, Any]:
    """Return the options of the network that tensors under our names belong to.

    Args:
        authors: Whether they come from a file of the authors, where all attentions have parameters.

    Raises:
        LookupError, ValueError: The weights are those of another space.
    """
    convs = [found.groups() for found in map(_CONV.fullmatch, state) if found]
    blocks = range(1 + max(int(block) for block, _, _ in convs))
    forms = [name for key, name in _FORMS.items() if ("0", "0", key) in convs]
    head = "head" if "head.bias" in state else "head.1"
    fold = max(state[f"{head}.weight"].shape[-1] // 3, 1)
    options = {
        "scale": round((len(state["upsample.0.bias"]) / RGB) ** 0.5) // fold,
        "num_feat": len(state[f"{head}.bias"]) - RGB * fold**2,
        "widths": [_width(state, f"blocks.{block}.convs.0.") for block in blocks],
        "convs": [len({conv for at, conv, _ in convs if int(at) == block}) for block in blocks],
        "reparameterize": forms[0],
        "unshuffle": fold > 1,
    }
    names = [_attention(state, f"blocks.{block}.attention.") for block in blocks]
    if authors or "none" not in names:
        options["attention"] = names
    pooled = [len(state[key]) for key in state if key.endswith("attention.squeeze.bias")]
    return options | ({"attention_feat": pooled[0]} if pooled else {})


def _width(state: Mapping[str, Tensor], prefix: str) -> int:
    plain, squeezed = (prefix + key for key in _WIDTHS)
    return len(state[plain if plain in state else squeezed])


def _attention(state: Mapping[str, Tensor], prefix: str) -> str:
    """Return the name of the attention with parameters of a prefix, "none" without any."""
    return next((name for key, name in _ATTENTIONS.items() if prefix + key in state), "none")


def _our_key(key: str, blocks: list[str], state: Mapping[str, Tensor]) -> str:
    first, _, inner = key.partition(".")
    if first == "tail":
        return f"upsample.{inner}"
    if first not in blocks:
        return key
    block = f"blocks.{blocks.index(first)}"
    layer, _, parameter = inner.removeprefix("body.").partition(".")
    if "." not in parameter:  # the even layers are convolutions, the odd ones leaky ReLU
        return f"{block}.convs.{int(layer) // 2}.{parameter}"
    _, number, parameter = parameter.split(".")  # body.3.body.2.weight
    pools = f"{first}.body.{layer}.body.2.weight" in state
    name = _PUBLISHED_IN_LIA.get(number, number) if pools else "conv"
    return f"{block}.attention.{name}.{parameter}"
