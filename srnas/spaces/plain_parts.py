"""The parts of plain networks: both ends, the block, and successive pieces of the features."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice.mixed_op import MixedOp
from srnas.primitives.reparameterized import REPARAMETERIZED

NEGATIVE_SLOPE = 0.05
RGB = 3

Piece = tuple[int, Tensor]
"""A number of channels, and features of as many."""


class Block(nn.Module):
    """3x3 convolutions with leaky ReLU between them, and an attention.

    Args:
        stream: Number of channels of the whole network.
        width: Number of channels of input and output, as far as the network has them.
        hidden: Number of channels between the convolutions, as far as the block has them.
        depth: Number of convolutions.
        attention: Maps the output of the convolutions and the input to the output.
        reparameterize: Form in which the convolutions are trained.
    """

    def __init__(
        self,
        stream: Any,
        width: Any,
        hidden: Any,
        depth: Any,
        attention: nn.Module,
        reparameterize: str,
    ) -> None:
        super().__init__()
        self.stream, self.width, self.hidden, self.depth = stream, width, hidden, depth
        self.attention = attention
        self.channels: int = min(width.channels, stream.channels)
        self.inner: int = min(hidden.channels, self.channels)
        count = int(depth.count)
        last = set(getattr(depth, "depths", [count]))  # numbers of convolutions that may be all
        mixes = [False] * (count - 1) + [getattr(attention, "scales_by_first", False)]
        self.convs = nn.ModuleList(
            _conv(
                self.channels if number == 1 else self.inner,
                self.channels if number in last else self.inner,
                reparameterize,
                mix,
            )
            for number, mix in enumerate(mixes, 1)
        )
        self.min_size: int = max(getattr(m, "min_size", 1) for m in attention.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        before = self.width(x)
        rest: Tensor | None = self.width.rest(x)
        steps = [partial(self._step, number) for number in range(len(self.convs))]
        y = self.attention(self.depth(before, steps), before)
        return y if rest is None else y + rest

    def _step(self, number: int, x: Tensor) -> Tensor:
        if number:
            x = x if x.shape[1] == self.inner else x[:, : self.inner]
            x = self.hidden(F.leaky_relu(x, NEGATIVE_SLOPE))
        return self.stream(self.width(self.convs[number](x)))

    @property
    def gated(self) -> bool:
        """Whether the first channel scales the others."""
        return any(getattr(one, "scales_by_first", False) for one in self.attention.modules())

    def ends(self, choices: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Return the layers that make the channels of a network's block, and that read them.

        Args:
            choices: Choices of the block, without its name.
        """
        attention = self.attention
        if isinstance(attention, MixedOp):
            attention = attention.candidates[choices["attention"]]
        last = choices.get("convs", len(self.convs)) - 1
        layers = {
            key: [f"attention.{name}" for name in getattr(attention, key, ())]
            for key in ("makes", "reads")
        }
        return [f"convs.{last}", *layers["makes"]], ["convs.0", *layers["reads"]]

    def gaps(self, choices: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the pairs of successive convolutions of a network's block.

        Args:
            choices: Choices of the block, without its name.
        """
        count = choices.get("convs", len(self.convs))
        return [(f"convs.{number}", f"convs.{number + 1}") for number in range(count - 1)]


def _conv(inputs: int, outputs: int, form: str, mix: bool) -> nn.Module:
    if form == "none":
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    return REPARAMETERIZED[form](inputs, outputs, mix)


def take(pieces: Sequence[Piece], width: int) -> tuple[Tensor, list[Piece]]:
    """Return the first channels of successive pieces, and the pieces of the others."""
    taken: list[Tensor] = []
    rest = list(pieces)
    while width > 0:
        count, piece = rest.pop(0)
        if count > width:
            piece, other = piece.split([width, count - width], dim=1)
            rest.insert(0, (count - width, other))
        taken.append(piece)
        width -= count
    return concatenate(taken), rest


def concatenate(pieces: list[Tensor]) -> Tensor:
    """Return successive pieces as one."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


@torch.no_grad()
def head(channels: int, fold: int) -> nn.Module:
    """Build the first convolution, whose last channels are the image's pixels and its own values.

    A 3x3 convolution of squares of pixels is one of stride `fold`. Zeros are added so that a side
    that `fold` does not divide is rounded up.
    """
    conv = nn.Conv2d(RGB, channels, 3 * fold, stride=fold, padding=1 if fold == 1 else 0)
    for index, place in enumerate(_image_channels(channels, fold)):
        color, (row, column) = index // fold**2, divmod(index % fold**2, fold)
        conv.weight[place, color, fold + row, fold + column] += 1
    if fold == 1:
        return conv
    return nn.Sequential(nn.ZeroPad2d((fold, 2 * fold - 1, fold, 2 * fold - 1)), conv)


@torch.no_grad()
def tail(channels: int, scale: int, fold: int) -> nn.Sequential:
    """Build the last convolution, which passes the image to its sub-pixels, and pixel shuffle."""
    side = scale * fold
    conv = nn.Conv2d(channels, RGB * side**2, 3, padding=1)
    squares = conv.weight.view(RGB, fold, scale, fold, scale, channels, 3, 3)
    for index, place in enumerate(_image_channels(channels, fold)):
        color, (row, column) = index // fold**2, divmod(index % fold**2, fold)
        squares[color, row, :, column, :, place, 1, 1] += 1
    return nn.Sequential(conv, nn.PixelShuffle(side))


def _image_channels(channels: int, fold: int) -> range:
    """Return the channels of the image, the last ones, in the order of pixel unshuffle."""
    return range(channels - RGB * fold**2, channels)
