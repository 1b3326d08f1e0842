"""PSNR and SSIM as metrics: on luma, on RGB, or as a protocol defines them."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from srnas.metrics import METRICS, Metric
from srnas.metrics.metric import Image, inside
from srnas.metrics.quality import luma, psnr, ssim

Channel = Callable[[Image], NDArray[Any]]
"""Maps an (H, W, 3) uint8 RGB image to the values that are compared, in [0, 255]."""


def rgb(image: Image) -> Image:
    """Return the image itself, to compare all of its channels."""
    return image


class Fidelity(Metric):
    """Base class of functions of the values that are compared.

    Args:
        channel: What is compared; by default Y, not rounded.
    """

    higher_is_better = True

    def __init__(self, channel: Channel = luma) -> None:
        self.channel = channel

    def __call__(self, sr: Image, hr: Image, border: int) -> float:
        return self.compare(*(self.channel(inside(image, border)) for image in (sr, hr)))

    @staticmethod
    @abstractmethod
    def compare(a: NDArray[Any], b: NDArray[Any]) -> float:
        """Compare values in [0, 255]."""


@METRICS.register("psnr")
class PSNR(Fidelity):
    """PSNR in dB as the protocol computes it; without a protocol on Y, not rounded."""

    title, unit, digits = "PSNR", "dB", 3
    compare = staticmethod(psnr)


@METRICS.register("psnr_y")
class PSNRofY(PSNR):
    """PSNR in dB on Y of MATLAB's rgb2ycbcr, not rounded, whatever the protocol."""

    title = "PSNR on Y"


@METRICS.register("psnr_rgb")
class PSNRofRGB(PSNR):
    """PSNR in dB by the mean squared error over R, G and B, whatever the protocol."""

    title = "PSNR on RGB"

    def __init__(self) -> None:
        super().__init__(rgb)


@METRICS.register("ssim")
class SSIM(Fidelity):
    """SSIM as the protocol computes it; without a protocol on Y, not rounded."""

    title = "SSIM"
    compare = staticmethod(ssim)


@METRICS.register("ssim_y")
class SSIMofY(SSIM):
    """SSIM on Y of MATLAB's rgb2ycbcr, not rounded, whatever the protocol."""

    title = "SSIM on Y"


@METRICS.register("ssim_rgb")
class SSIMofRGB(SSIM):
    """SSIM, the mean over R, G and B, whatever the protocol."""

    title = "SSIM on RGB"

    def __init__(self) -> None:
        super().__init__(rgb)
