"""Base classes of the spaces of one task."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from srnas.choice import Space


class SuperResolutionSpace(Space):
    """Base class of networks that enlarge images.

    They map (B, 3, H, W) to (B, 3, scale*H, scale*W), RGB in [0, 1].

    Attributes:
        scale: Scale factor.
        rgb_range: Range in which the network computes inside. Losses are multiplied by it, so that
            they are those of a network that takes and returns RGB in this range.
    """

    task: ClassVar[str] = "super_resolution"
    rescaled: ClassVar[tuple[str, ...]] = ("upsample.",)
    scale: int
    rgb_range: float = 1.0


def in_float32(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a module in float32 where autocast is on.

    Networks read and write images so: bfloat16 has 8 bits for what is between two powers of 2, so
    its numbers near 1 differ by a whole level of 8-bit images.
    """
    kind = x.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return module(x)
    with torch.autocast(kind, enabled=False):
        return module(x.float())


class ClassificationSpace(Space):
    """Base class of networks that classify images: (B, 3, H, W) -> (B, num_classes) logits.

    Attributes:
        num_classes: Number of classes.
    """

    task: ClassVar[str] = "classification"
    num_classes: int
