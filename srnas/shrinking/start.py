"""Weights of alternatives before anything is fitted, in closed form.

- Operations come as close to others as `srnas.choice.closed_form` brings them.
- A narrower layer keeps the channels from which linear least squares restore the others best in
  what reads them; the readers' weights then take the restored ones (He et al., *Channel Pruning for
  Accelerating Very Deep Neural Networks*, ICCV 2017, with forward selection in place of LASSO).
  Channels between which there are only sums are rotated to their principal components.
- Of fewer convolutions in a row, the last one becomes what comes closest, by linear least squares,
  to the output of the original's last one.
- Where a space does not say what its channels do, the first ones are taken.
"""

import torch
from torch import Tensor, nn

from srnas.choice import OpChoice, Space
from srnas.choice.channels import ChannelSet, Cut, cut, select
from srnas.choice.closed_form import take_after
from srnas.shrinking.activations import RIDGE, Activations, cuts_of, shortened
from srnas.shrinking.alternatives import Alternative, Original
from srnas.spaces import open_choices


class Starter:
    """The start of each alternative of a network.

    Args:
        original: The network.
        seen: What `observe` returned for the alternatives.
    """

    def __init__(self, original: Original, seen: Activations) -> None:
        self.original, self.seen = original, seen
        self.choices = open_choices(original.space)

    def network(self, alternative: Alternative) -> Space:
        """Return the network with one alternative, in evaluation mode."""
        changes = alternative.changes
        network = self.original.changed(changes)
        known = dict(self.original.network.state_dict())
        for layer, last in shortened(self.original, alternative):
            weight, bias = self.seen.fits[layer, last].solution()
            known |= {f"{layer}.weight": weight.float(), f"{layer}.bias": bias.float()}
        cuts = cuts_of(self.original, alternative)
        known = cut(known, [self._cut(one, width) for one, width in cuts])
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
        if width == 0:
            return select(channels, torch.arange(0))
        layers = self.original.network
        dense = all(isinstance(layers.get_submodule(s.layer), nn.Conv2d) for s in channels.read)
        moment = sum(self.seen.moments[s.layer, s.first, channels.count] for s in channels.read)
        assert isinstance(moment, Tensor)
        if channels.linear and dense:
            vectors = torch.linalg.eigh(moment).eigenvectors.flip(1)[:, :width].float()
            return Cut(channels, vectors.T.contiguous(), vectors)
        keep = forward_selection(moment, self._use(channels), width, channels.fixed)
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


def forward_selection(moment: Tensor, use: Tensor, count: int, fixed: int = 0) -> Tensor:
    """Choose channels from which the others can be restored, one at a time.

    Each is the one after which the squared error of what reads the channels, after linear least
    squares, is smallest.

    Args:
        moment: E[x x^T], (n, n).
        use: W^T W of the readers, (n, n).
        count: Number of channels to choose, at most n.
        fixed: How many of the first channels are among them.

    Returns:
        Their numbers, ascending, (count,).
    """
    residual, use = moment.double().clone(), use.double()
    floor = RIDGE * residual.diagonal().mean()
    chosen: list[int] = []
    for _ in range(count):
        spared = (residual * (use @ residual)).sum(0) / (residual.diagonal() + floor)
        spared[chosen] = -1.0
        best = len(chosen) if len(chosen) < fixed else int(spared.argmax())
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
