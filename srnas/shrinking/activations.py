"""What is measured of a trained network's activations before anything is fitted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice import DepthChoice
from srnas.choice.channels import ChannelSet
from srnas.shrinking.alternatives import Alternative, Original
from srnas.spaces import open_choices

RIDGE = 1e-6  # of the mean variance, in least squares

Pair = tuple[str, str]
"""A layer, and another one whose output is wanted of it."""


class LeastSquares:
    """The convolution of a layer's shape whose output is closest to that of another layer.

    Args:
        conv: The layer.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv, self.squares, self.products = conv, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor, y: Tensor) -> None:
        """Count in the layer's input x (B, C, H, W) and the wanted output y (B, N, H, W)."""
        columns = F.unfold(x, self.conv.kernel_size, padding=self.conv.padding)  # type: ignore[arg-type]
        rows = F.pad(columns, (0, 0, 0, 1), value=1.0).movedim(1, -1).flatten(0, 1)
        wanted = y.flatten(2).movedim(1, -1).flatten(0, 1)
        self.squares = self.squares + (rows.T @ rows).double()
        self.products = self.products + (rows.T @ wanted).double()

    def solution(self) -> tuple[Tensor, Tensor]:
        """Return weight (N, C, side, side) and bias (N,), in double precision."""
        floor = RIDGE * self.squares.diagonal()[:-1].mean()
        eye = torch.eye(len(self.squares), dtype=torch.double, device=self.squares.device)
        found = torch.linalg.solve(self.squares + floor * eye, self.products).T
        return found[:, :-1].reshape(len(found), *self.conv.weight.shape[1:]), found[:, -1]


@dataclass
class Activations:
    """Sums over images.

    Attributes:
        moments: Sums of x x^T (n, n) of the inputs of layers, by layer, first channel and number of
            channels.
        fits: Layers that are to have the output of others.
    """

    moments: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)
    fits: dict[Pair, LeastSquares] = field(default_factory=dict)


def cuts_of(original: Original, alternative: Alternative) -> list[tuple[ChannelSet, int]]:
    """Return the sets of channels that an alternative cuts, and how many it keeps."""
    choices = original.changed_genotype(alternative.changes).choices
    cuts = original.network.channel_cuts(choices)
    return [(one, width) for one, width in cuts if width < one.count]


def shortened(original: Original, alternative: Alternative) -> list[Pair]:
    """Return the last layers of shorter repetitions, and those whose output they are to have."""
    choices = open_choices(original.space)
    pairs = []
    for label, value in alternative.changes.items():
        if isinstance(choices[label], DepthChoice):
            layers = original.network.repeated(label)
            if 0 < value < len(layers):
                pairs.append((layers[value - 1], layers[-1]))
    return pairs


def observe(
    original: Original, alternatives: list[Alternative], batches: Callable[[], list[Tensor]]
) -> Activations:
    """Measure what the starts of alternatives need.

    Args:
        original: The network.
        alternatives: All alternatives.
        batches: Returns the LR images (B, 3, H, W) to measure on.
    """
    seen = Activations()
    layer = original.network.get_submodule
    for one in alternatives:
        for channels, _ in cuts_of(original, one):
            for name, first in channels.read:
                size = channels.count
                seen.moments[name, first, size] = torch.zeros(size, size, dtype=torch.double)
        for pair in shortened(original, one):
            conv = layer(pair[0])
            assert isinstance(conv, nn.Conv2d)
            seen.fits[pair] = LeastSquares(conv)
    names = {key[0] for key in seen.moments} | {name for pair in seen.fits for name in pair}
    with torch.no_grad(), _watched(original.network, names) as now:
        for x in batches():
            original.network(x)
            for (name, first, count), moment in seen.moments.items():
                rows = now[name][0].movedim(1, -1).flatten(0, -2)[:, first : first + count].double()
                moment += (rows.T @ rows / len(rows)).cpu()
            for (name, last), fit in seen.fits.items():
                fit.add(now[name][0], now[last][1])
    return seen


@contextmanager
def _watched(network: nn.Module, names: set[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Collect the input and output of layers while the network runs."""
    now: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            now[name] = inputs[0], output

        return hook

    handles = [network.get_submodule(one).register_forward_hook(keep(one)) for one in names]
    try:
        yield now
    finally:
        for handle in handles:
            handle.remove()
