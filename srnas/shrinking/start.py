"""Weights of alternatives before anything is fitted, in closed form.

- Operations come as close to others as `srnas.choice.closed_form` brings them.
- A narrower layer keeps the channels from which linear least squares restore the others best in
  what reads them; the readers' weights then take the restored ones (He et al., *Channel Pruning for
  Accelerating Very Deep Neural Networks*, ICCV 2017, with forward selection in place of LASSO).
  Channels between which there are only sums are rotated to their principal components.
- Where a space does not say what its channels do, the first ones are taken.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice import Choice, OpChoice, Space, WidthChoice
from srnas.choice.channels import ChannelSet, Cut, cut, select
from srnas.choice.closed_form import take_after
from srnas.shrinking.alternatives import Alternative, Original
from srnas.spaces import open_choices

RIDGE = 1e-6  # of the mean variance, in least squares

Moments = Mapping[tuple[str, int, int], Tensor]
"""E[x x^T] (n, n) of the inputs of layers, by layer, first channel and number of channels."""


class Starter:
    """The start of each alternative of a network.

    Args:
        original: The network.
        moments: What `moments` returned for the alternatives.
    """

    def __init__(self, original: Original, moments: Moments) -> None:
        self.original, self.moments = original, moments
        self.choices = open_choices(original.space)

    def network(self, alternative: Alternative) -> Space:
        """Return the network with one alternative, in evaluation mode."""
        changes = alternative.changes
        network = self.original.changed(changes)
        known = dict(self.original.network.state_dict())
        for label, value in changes.items():
            choice = self.choices[label]
            if isinstance(choice, WidthChoice):
                sets = self.original.network.channel_sets(label)
                share = value / self.original.genotype.choices[label]
                known = cut(known, [self._cut(one, round(one.count * share)) for one in sets])
        state = network.state_dict()
        for key, tensor in state.items():
            if key in known and known[key].ndim == tensor.ndim:
                taken = known[key][tuple(slice(side) for side in tensor.shape)]
                state[key] = taken if taken.shape == tensor.shape else tensor
        network.load_state_dict(state)
        for label, value in changes.items():
            if isinstance(choice := self.choices[label], OpChoice):
                self._approximate(choice, value, alternative.scope, network)
        return network.eval()

    def _cut(self, channels: ChannelSet, width: int) -> Cut:
        """Return how a set of channels becomes narrower."""
        layers = self.original.network
        dense = all(isinstance(layers.get_submodule(s.layer), nn.Conv2d) for s in channels.read)
        moment = sum(self.moments[s.layer, s.first, channels.count] for s in channels.read)
        assert isinstance(moment, Tensor)
        if channels.linear and dense:
            vectors = torch.linalg.eigh(moment).eigenvectors.flip(1)[:, :width].float()
            return Cut(channels, vectors.T.contiguous(), vectors)
        keep = forward_selection(moment, self._use(channels), width)
        if not dense:
            return select(channels, keep)
        return select(channels, keep, restoration(moment, keep).float())

    def _use(self, channels: ChannelSet) -> Tensor:
        """Return W^T W (n, n) over all that reads the channels, in double precision."""
        weights = []
        for layer, first in channels.read:
            weight = self.original.network.get_submodule(layer).weight
            assert isinstance(weight, Tensor)
            rows = weight.double().narrow(1, first, channels.count).movedim(1, -1)
            weights.append(rows.reshape(-1, channels.count))
        stacked = torch.cat(weights)
        return stacked.T @ stacked

    def _approximate(self, choice: OpChoice, value: str, scope: str, network: Space) -> None:
        """Give an operation in a network the weights that come closest to the original's."""
        based_on = choice.candidates[self.original.genotype.choices[choice.label]]
        base, module = (net.get_submodule(scope) for net in (self.original.network, network))
        take_after(module, choice.candidates[value], base, based_on)


def forward_selection(moment: Tensor, use: Tensor, count: int) -> Tensor:
    """Choose channels from which the others can be restored, one at a time.

    Each is the one after which the squared error of what reads the channels, after linear least
    squares, is smallest.

    Args:
        moment: E[x x^T], (n, n).
        use: W^T W of the readers, (n, n).
        count: Number of channels to choose, at most n.

    Returns:
        Their numbers, ascending, (count,).
    """
    residual, use = moment.double().clone(), use.double()
    floor = RIDGE * residual.diagonal().mean()
    chosen: list[int] = []
    for _ in range(count):
        spared = (residual * (use @ residual)).sum(0) / (residual.diagonal() + floor)
        spared[chosen] = -1.0
        best = int(spared.argmax())
        chosen.append(best)
        column = residual[:, best].clone()
        residual -= torch.outer(column, column) / (column[best] + floor)
    return torch.tensor(sorted(chosen))


def restoration(moment: Tensor, keep: Tensor) -> Tensor:
    """Return the least squares map R (n, w) from the kept channels to all: x is about R x_keep."""
    moment = moment.double()
    kept = moment[keep][:, keep]
    kept = kept + RIDGE * kept.diagonal().mean() * torch.eye(len(keep), dtype=torch.double)
    restore = torch.linalg.solve(kept, moment[keep]).T
    restore[keep] = torch.eye(len(keep), dtype=torch.double)
    return restore


def moments(
    original: Original, alternatives: list[Alternative], batches: Callable[[], list[Tensor]]
) -> dict[tuple[str, int, int], Tensor]:
    """Measure the second moments of the channels that widths cut.

    Args:
        original: The network.
        alternatives: All alternatives.
        batches: Returns the LR images (B, 3, H, W) to measure on.
    """
    choices: Mapping[str, Choice] = open_choices(original.space)
    labels = {label for one in alternatives for label in one.changes}
    sets = [
        one
        for label in sorted(labels)
        if isinstance(choices[label], WidthChoice)
        for one in original.network.channel_sets(label)
    ]
    keys = {(s.layer, s.first, one.count) for one in sets for s in one.read}
    sums: dict[tuple[str, int, int], Any] = dict.fromkeys(keys, 0)

    def hook(layer: str) -> Callable[..., None]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].movedim(1, -1).flatten(0, -2).double()
            for key in keys:
                if key[0] == layer:
                    piece = x[:, key[1] : key[1] + key[2]]
                    sums[key] = sums[key] + piece.T @ piece / len(piece)

        return add

    handles = [
        original.network.get_submodule(layer).register_forward_pre_hook(hook(layer))
        for layer in {key[0] for key in keys}
    ]
    with torch.no_grad():
        for x in batches():
            original.network(x)
    for handle in handles:
        handle.remove()
    return sums
