"""The contract of a metric of images."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from srnas.errors import UserError

Image = NDArray[np.uint8]


class Metric(ABC):
    """Base class of metrics: a function of an SR and an HR image, registered under its name.

    Attributes:
        title: Name in tables, such as "PSNR"; by default that of the class.
        unit: Unit, such as "dB"; "" for none.
        higher_is_better: Whether better images have higher values.
        digits: Number of decimals in tables.
    """

    title: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool]
    digits: ClassVar[int] = 4

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if not hasattr(cls, "higher_is_better"):
            raise UserError(f"metric {cls.__name__}: say higher_is_better = True or False")
        if not hasattr(cls, "title"):
            cls.title = cls.__name__

    @abstractmethod
    def __call__(self, sr: Image, hr: Image, border: int) -> float:
        """Compute the metric of an image.

        Args:
            sr: SR image, (H, W, 3) uint8 RGB.
            hr: HR image of the same shape.
            border: Number of pixels to cut off at each side first.

        Raises:
            ValueError: The image is too small.
        """

    def to(self, device: torch.device) -> None:  # noqa: B027  (optional)
        """Compute on a device from now on; for metrics by a network."""


def inside(image: Image, border: int) -> Image:
    """Return (H, W, 3) without `border` pixels at each side."""
    assert border >= 0, border
    return image[border : image.shape[0] - border, border : image.shape[1] - border]
