"""What the spaces of one task have in common."""

from typing import ClassVar

from srnas.choice import Space


class SuperResolutionSpace(Space):
    """A network that enlarges images: (B, 3, H, W) -> (B, 3, scale*H, scale*W), RGB in [0, 1].

    Attributes:
        scale: The factor that it enlarges by.
    """

    task: ClassVar[str] = "super_resolution"
    rescaled: ClassVar[tuple[str, ...]] = ("upsample.",)
    scale: int


class ClassificationSpace(Space):
    """A network that classifies images: (B, 3, H, W) -> (B, num_classes) logits.

    Attributes:
        num_classes: The number of classes.
    """

    task: ClassVar[str] = "classification"
    num_classes: int
