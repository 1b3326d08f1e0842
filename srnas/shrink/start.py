"""Weights of alternatives before anything is fitted, in closed form.

- A convolution in place of another one has its kernel, padded or cropped; a separable one the best
  approximation of rank 1 for each input channel (the first singular vectors: Eckart, Young, 1936).
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
from srnas.shrink.alternatives import Alternative, Original
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
        base = choice.candidates[self.original.genotype.choices[choice.label]]
        module = self.original.network.get_submodule(scope)
        if base.linear_size:
            kernel, bias = base.as_kernel(module)  # type: ignore[attr-defined]
            approximate(network.get_submodule(scope), kernel, bias)


@torch.no_grad()
def approximate(module: nn.Module, kernel: Tensor, bias: Tensor) -> bool:
    """Bring a module as close to a dense convolution as a closed form can.

    Args:
        module: A convolution, or one without and one with a 1x1 kernel, the first depthwise; and
            perhaps BatchNorm.
        kernel: (C_out, C_in, side, side).
        bias: (C_out,).

    Returns:
        Whether the module has such a form; others are left as they are.
    """
    layers = [m for m in module.modules() if not list(m.children())]
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    if len(convs) + len(norms) < len(layers) or any(conv.dilation != (1, 1) for conv in convs):
        return False
    if len(convs) == 1 and convs[0].groups == 1:
        convs[0].weight.copy_(resized(kernel, convs[0].kernel_size[0]))
    elif len(convs) == 2 and convs[0].groups == kernel.shape[1] and convs[1].kernel_size == (1, 1):
        depthwise, pointwise = separated(resized(kernel, convs[0].kernel_size[0]))
        convs[0].weight.copy_(depthwise)
        convs[1].weight.copy_(pointwise)
        if convs[0].bias is not None:
            convs[0].bias.zero_()
    else:
        return False
    if convs[-1].bias is not None:
        convs[-1].bias.copy_(bias)
    for norm in norms:
        norm.reset_running_stats()
        if norm.affine:
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            norm.bias.zero_()
    return True


def resized(kernel: Tensor, side: int) -> Tensor:
    """Pad a kernel (..., k, k) with zeros, or take its middle, to (..., side, side)."""
    margin = (side - kernel.shape[-1]) // 2
    return nn.functional.pad(kernel, (margin,) * 4)


def separated(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Return the depthwise and pointwise kernels nearest to a dense one.

    They minimize the squared difference of the kernels, for each input channel on its own.

    Args:
        kernel: (C_out, C_in, k, k).

    Returns:
        Depthwise (C_in, 1, k, k), of norm 1, and pointwise (C_out, C_in, 1, 1).
    """
    matrices = kernel.movedim(1, 0).flatten(2)  # (C_in, C_out, k * k)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    side = kernel.shape[-1]
    depthwise = v[:, 0].reshape(-1, 1, side, side)
    return depthwise, (u[:, :, 0] * s[:, :1]).T[:, :, None, None].contiguous()


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
