"""The reference: a supernet as the released codes write it, one candidate after the other."""

import copy

import torch
from torch import Tensor, nn

from srnas.choice import Supernet
from srnas.choice.mixed_op import MixedOp
from srnas.primitives.depthwise import DepthwiseConv2d


class PlainMixedOp(nn.Module):
    """sum(w * op(x) for w, op in zip(weights, ops)), as in DARTS' model_search.py."""

    def __init__(self, mixed: MixedOp) -> None:
        super().__init__()
        self.shared, self.label = mixed.shared, mixed.label
        self.candidates = mixed.candidates

    def forward(self, x: Tensor) -> Tensor:
        weights = self.shared.weights[self.label]
        return sum(w * op(x) for w, op in zip(weights, self.candidates.values(), strict=True))


def plain(network: nn.Module) -> nn.Module:
    """Return a copy that computes the same by torch's own modules, in NCHW, without merging."""
    network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MixedOp):
                setattr(module, name, PlainMixedOp(child))
            elif isinstance(child, DepthwiseConv2d):
                setattr(module, name, _conv(child))
    for module in list(network.modules()):  # those inside of mixed operations
        for name, child in list(module.named_children()):
            if isinstance(child, DepthwiseConv2d):
                setattr(module, name, _conv(child))
    return network


def _conv(ours: DepthwiseConv2d) -> nn.Conv2d:
    theirs = nn.Conv2d(
        ours.in_channels,
        ours.out_channels,
        ours.kernel_size,
        ours.stride,
        ours.padding,
        ours.dilation,
        ours.groups,
        ours.bias is not None,
        device=ours.weight.device,
    )
    theirs.weight, theirs.bias = ours.weight, ours.bias
    return theirs


def plain_supernet(supernet: Supernet) -> Supernet:
    """Return the reference of a supernet, with copies of its weights."""
    found = plain(supernet)
    assert isinstance(found, Supernet)
    return found
