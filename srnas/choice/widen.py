"""A supernet with other partial channels goes on from the weights of the one before."""

import torch
from torch import Tensor

from srnas.choice.supernet import Supernet


@torch.no_grad()
def widen(old: Supernet, new: Supernet) -> Supernet:
    """Give `new`, of the same space with a smaller K, what `old` has learned.

    Alphas, living candidates and tensors of equal shape are taken as they are; a wider
    candidate repeats the old one's channels, divided by how often along its inputs (as
    DrNAS widens its supernet; Chen et al., Net2Net, ICLR 2016). Returns `new`.
    """
    tensors = old.network.state_dict()
    for key, tensor in new.network.state_dict().items():
        if key in tensors:
            tensor.copy_(_repeated(tensors[key], tensor.shape))
    kept = {k: t for k, t in old.state_dict().items() if not k.startswith("network.")}
    new.load_state_dict(kept, strict=False)
    return new


def _repeated(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Repeat along the axes that grew; along inputs the sum over them stays."""
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
