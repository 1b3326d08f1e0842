"""Widening: a supernet with fewer partial channels continues from the weights of another."""

import torch
from torch import Tensor

from srnas.choice.supernet import Supernet


@torch.no_grad()
def widen(old: Supernet, new: Supernet) -> Supernet:
    """Copy what `old` has learned into `new`, of the same space with a smaller K.

    Alphas, living candidates and tensors of equal shape are copied. A wider candidate repeats the
    channels of the old one, divided by the number of repetitions along its inputs (as DrNAS
    widens its supernet; Chen et al., Net2Net, ICLR 2016).

    Returns:
        `new`.
    """
    tensors = old.network.state_dict()
    for key, tensor in new.network.state_dict().items():
        if key in tensors:
            tensor.copy_(_repeated(tensors[key], tensor.shape))
    kept = {k: t for k, t in old.state_dict().items() if not k.startswith("network.")}
    new.load_state_dict(kept, strict=False)
    return new


def _repeated(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Repeat along the axes that grew; along the input axis keep the sum."""
    if tensor.shape == shape:
        return tensor
    for axis, length in enumerate(shape):
        before = tensor.shape[axis]
        if length != before:
            index = torch.arange(length, device=tensor.device) % before
            tensor = tensor.index_select(axis, index)
            if axis == 1:
                tensor = tensor / torch.bincount(index)[index].view(1, -1, 1, 1)
    return tensor
