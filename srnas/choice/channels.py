"""Channels that a width cuts: where they are made and read, and weights with fewer of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MADE, READ = 0, 1  # axes of a weight


class Slice(NamedTuple):
    """Successive channels of a layer.

    Attributes:
        layer: Name of the layer.
        first: Number of the first channel, from 0.
    """

    layer: str
    first: int = 0


@dataclass(frozen=True)
class ChannelSet:
    """Channels of a network that share a width, as they are at the largest one.

    Attributes:
        count: Their number.
        made: Outputs of layers that make them.
        read: Inputs of linear layers that read them.
        linear: Whether nothing but sums lies between `made` and `read`, so that they can be
            rotated.
        fixed: How many of the first channels have to stay.
    """

    count: int
    made: tuple[Slice, ...]
    read: tuple[Slice, ...]
    linear: bool = False
    fixed: int = 0


class Cut(NamedTuple):
    """Fewer channels in place of those of a set: y = reduce x, and x is about restore y.

    Attributes:
        channels: The set, of n channels.
        reduce: (w, n).
        restore: (n, w).
    """

    channels: ChannelSet
    reduce: Tensor
    restore: Tensor


def select(channels: ChannelSet, keep: Tensor, restore: Tensor | None = None) -> Cut:
    """Return the cut that keeps some channels.

    Args:
        channels: The set, of n channels.
        keep: Numbers of the channels that stay, (w,).
        restore: (n, w); by default the others are taken for zero.
    """
    reduce = torch.eye(channels.count)[keep]
    return Cut(channels, reduce, reduce.T if restore is None else restore)


def cut(state: Mapping[str, Tensor], cuts: Iterable[Cut]) -> dict[str, Tensor]:
    """Return the weights of a network with fewer channels.

    Args:
        state: The weights of layers with dense inputs where a set is read.
        cuts: What becomes of each set.
    """
    pieces: dict[tuple[str, int], list[tuple[int, Tensor]]] = defaultdict(list)
    for channels, reduce, restore in cuts:
        for layer, first in channels.made:
            pieces[layer, MADE].append((first, reduce))
        for layer, first in channels.read:
            pieces[layer, READ].append((first, restore.T))
    changed = dict(state)
    for (layer, axis), matrices in pieces.items():
        keys = [f"{layer}.weight"] + ([f"{layer}.bias"] if axis == MADE else [])
        for key in keys:
            if key in changed:
                changed[key] = _along(changed[key], axis, matrices)
    return changed


def _along(tensor: Tensor, axis: int, matrices: list[tuple[int, Tensor]]) -> Tensor:
    """Multiply slices of a tensor along an axis by matrices (w, n); the rest stays."""
    parts, end = [], 0
    for first, matrix in sorted(matrices, key=lambda one: one[0]):
        width = matrix.shape[1]
        parts.append(tensor.narrow(axis, end, first - end))
        piece = tensor.narrow(axis, first, width)
        parts.append(
            torch.tensordot(piece, matrix.to(piece.dtype), ([axis], [1])).movedim(-1, axis)
        )
        end = first + width
    parts.append(tensor.narrow(axis, end, tensor.shape[axis] - end))
    return torch.cat(parts, axis)
