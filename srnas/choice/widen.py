"""Widening: transfer of a supernet's weights to one with fewer partial channels K."""

import torch
from torch import Tensor

from srnas.choice.supernet import Supernet


@torch.no_grad()
def widen(old: Supernet, new: Supernet) -> Supernet:
    """Transfer the weights and alphas of a supernet to a wider one.

    Alphas, masks of the candidates still in the search, and tensors of equal shape are copied. The
    channels of a wider candidate repeat those of the narrower one; along the input axis they are
    divided by the number of repetitions (as in DrNAS; Chen et al., Net2Net, ICLR 2016).

    Args:
        old: The trained supernet.
        new: A supernet of the same space with a smaller K. Both have K > 1: at K = 1 the operations
            have other names, and their weights are not copied.

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
    """Repeat or cut a tensor along the axes that differ; repeated inputs keep their sum."""
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
