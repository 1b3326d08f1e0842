"""Weights of a derived network out of its supernet."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from srnas.choice.channels import cut, select
from srnas.choice.mixed_op import MixedOp
from srnas.choice.open_choices import Choices
from srnas.choice.supernet import Supernet


def inherited(supernet: Supernet, network: nn.Module, choices: Choices) -> dict[str, Tensor]:
    """Return the weights of a derived network as they are in its supernet.

    A searched operation has those of its candidate. Of a layer that is wider in the supernet, the
    first channels are taken. Affine BatchNorm that the supernet does not have keeps its values.

    Args:
        supernet: The supernet, without partial channels.
        network: The derived network.
        choices: Its choices by place.

    Raises:
        ValueError: A tensor cannot be had from the supernet, as behind inputs that were chosen.
    """
    known = dict(kept_tensors(supernet, choices))
    values = {str(place): value for place, value in choices.items()}
    cuts = supernet.network.channel_cuts(values)
    known = cut(known, [select(one, torch.arange(width)) for one, width in cuts])
    state = dict(network.state_dict())
    for key, tensor in state.items():
        source = known.get(key)
        if source is None:
            continue
        if source.ndim != tensor.ndim:
            raise ValueError(f"{key} is {tuple(source.shape)} in the supernet")
        state[key] = source[tuple(slice(side) for side in tensor.shape)]
        if state[key].shape != tensor.shape:
            raise ValueError(f"{key} is {tuple(source.shape)} in the supernet")
    return state


def kept_tensors(supernet: Supernet, choices: Choices) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of the supernet that a derived network keeps, by their names there."""
    names = supernet.choices.chosen(choices)
    mixed = {
        name: module
        for name, module in supernet.network.named_modules()
        if isinstance(module, MixedOp)
    }
    for key, tensor in supernet.network.state_dict().items():
        owner = next((name for name in mixed if key.startswith(f"{name}.")), None)
        if owner is None:
            yield key, tensor
            continue
        prefix = f"{owner}.candidates.{names[mixed[owner].label]}."
        if key.startswith(prefix):
            yield f"{owner}.{key.removeprefix(prefix)}", tensor
