"""What the output of the whole network loses by an alternative."""

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.shrinking.alternatives import Alternative, Original
from srnas.shrinking.fit import replaced

Fitted = Mapping[Alternative, nn.Module]
"""Modules by alternative."""


class Scorer:
    """Measures losses against the outputs of a network.

    A loss is the mean squared error of the output, RGB in [0, 1]. Errors of few independent
    replacements add up in it.

    Args:
        teacher: The network.
        images: LR images (B, 3, H, W) to measure on.
    """

    def __init__(self, teacher: nn.Module, images: Sequence[Tensor]) -> None:
        self.images = images
        with torch.no_grad():
            self.outputs = [teacher(x) for x in images]

    @torch.no_grad()
    def loss(self, network: nn.Module) -> float:
        """Return the loss of a network."""
        pairs = zip(self.images, self.outputs, strict=True)
        errors = [(network(x) - y).square().mean().item() for x, y in pairs]
        return sum(errors) / len(errors)

    def added(
        self,
        network: Space,
        alternative: Alternative,
        fitted: Fitted,
        chosen: Iterable[Alternative] = (),
    ) -> float:
        """Return what an alternative adds to the loss of a network, at least 0.

        Args:
            network: The network.
            alternative: The alternative.
            fitted: The modules.
            chosen: Others that are in the network; those that it excludes are taken out.
        """
        others = [one for one in chosen if not one.covers & alternative.covers]
        network = assembled(network, others, fitted)
        before = self.loss(network)
        with replaced(network, alternative.scope, fitted[alternative]) as changed:
            return max(self.loss(changed) - before, 0.0)


def assembled(network: Space, chosen: Iterable[Alternative], fitted: Fitted) -> Space:
    """Return a copy of a network in which alternatives replace their modules."""
    whole = copy.deepcopy(network)
    for one in chosen:
        assert one.scope, one
        whole.set_submodule(one.scope, fitted[one])
    return whole


def composed(original: Original, chosen: Sequence[Alternative], fitted: Fitted) -> Space:
    """Build the network of some alternatives, with their weights."""
    changes = {label: value for one in chosen for label, value in one.changes.items()}
    network = original.changed(changes)
    state = network.state_dict()
    known = original.network.state_dict()
    state |= {k: known[k] for k in state if k in known and known[k].shape == state[k].shape}
    for one in chosen:
        prefix = f"{one.scope}." if one.scope else ""
        state |= {f"{prefix}{key}": tensor for key, tensor in fitted[one].state_dict().items()}
    network.load_state_dict(state)
    return network.eval()
