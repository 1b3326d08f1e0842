"""Base classes of the spaces of one task."""

from typing import ClassVar

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


class ClassificationSpace(Space):
    """Base class of networks that classify images: (B, 3, H, W) -> (B, num_classes) logits.

    Attributes:
        num_classes: Number of classes.
    """

    task: ClassVar[str] = "classification"
    num_classes: int
