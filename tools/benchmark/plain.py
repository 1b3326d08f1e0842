"""The reference: a network as the released codes write it, one candidate after the other."""

import copy
from typing import Any

import torch
from torch import nn

from srnas import fast
from srnas.choice import Supernet


def plain(network: nn.Module) -> nn.Module:
    """Return a copy that computes the same in NCHW, with all techniques of `srnas.fast` off."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    ours = type(network)

    def forward(self: nn.Module, *inputs: Any) -> Any:
        with fast.plain():
            return ours.forward(self, *inputs)

    network.__class__ = type(f"Plain{ours.__name__}", (ours,), {"forward": forward})
    return network


def plain_supernet(supernet: Supernet) -> Supernet:
    """Return the reference of a supernet, with copies of its weights."""
    found = plain(supernet)
    assert isinstance(found, Supernet)
    return found
