"""What the output of the whole network loses by an alternative."""

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.shrink.alternatives import Alternative, Original
from srnas.shrink.fit import replaced

Fitted = Mapping[Alternative, nn.Module]
"""Modules by alternative."""


class Scorer:
    """Measures losses against the original network.

    A loss is the mean squared error of the output, RGB in [0, 1], to the original's. Errors of few
    independent replacements add up in it.

    Args:
        original: The original network.
        images: LR images (B, 3, H, W) to measure on.
    """

    def __init__(self, original: Original, images: Sequence[Tensor]) -> None:
        self.original, self.images = original, images
        with torch.no_grad():
            self.outputs = [original.network(x) for x in images]

    @torch.no_grad()
    def loss(self, network: nn.Module) -> float:
        """Return the loss of a network."""
        pairs = zip(self.images, self.outputs, strict=True)
        errors = [(network(x) - y).square().mean().item() for x, y in pairs]
        return sum(errors) / len(errors)

    def alone(self, alternative: Alternative, module: nn.Module) -> float:
        """Return the loss of an alternative in the original network."""
        with replaced(self.original.network, alternative.scope, module) as network:
            return self.loss(network)

    def beside(
        self, alternative: Alternative, chosen: Iterable[Alternative], fitted: Fitted
    ) -> tuple[float, float]:
        """Return the losses with and without an alternative among others.

        Args:
            alternative: The alternative.
            chosen: The others; those that it excludes are left out.
            fitted: The modules.
        """
        others = [one for one in chosen if not one.covers & alternative.covers]
        network = assembled(self.original.network, others, fitted)
        without = self.loss(network)
        with replaced(network, alternative.scope, fitted[alternative]) as changed:
            return self.loss(changed), without


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
