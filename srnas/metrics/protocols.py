"""Named evaluation protocols: what is done to SR and HR before they are compared."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from srnas.metrics.quality import luma, psnr, ssim

EDSR_LUMA = np.array([65.738, 129.057, 25.064]) / 256


@dataclass(frozen=True)
class Protocol:
    """How a pair of uint8 RGB images becomes PSNR (dB) and SSIM.

    channel: (H, W, 3) uint8 RGB -> what is compared, in 0-255. crop: whether `scale` pixels are
    cut off each border first.
    """

    name: str
    description: str
    channel: Callable[[np.ndarray], np.ndarray]
    crop: bool = True

    def __call__(self, sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[float, float]:
        """sr, hr: (H, W, 3) uint8 RGB of equal size, cropped to the scale -> (PSNR, SSIM)."""
        assert sr.shape == hr.shape, (sr.shape, hr.shape)
        inner = (slice(scale, -scale),) * 2 if self.crop else ()
        a, b = self.channel(sr[inner]), self.channel(hr[inner])
        return psnr(a, b), ssim(a, b)


def _rounded_luma(image: np.ndarray) -> np.ndarray:
    return luma(image).round()


def _edsr_luma(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) @ EDSR_LUMA


def _opencv_luma(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2YCrCb)[..., 0]


def _rgb(image: np.ndarray) -> np.ndarray:
    return image


PROTOCOLS = {
    protocol.name: protocol
    for protocol in [
        Protocol("basicsr", "Y of MATLAB's rgb2ycbcr, not rounded: the published tables", luma),
        Protocol("imdn_script", "Y rounded to 8 bits: IMDN's own test script", _rounded_luma),
        Protocol("edsr", "luma of the RGB difference: EDSR's and DLSR's code", _edsr_luma),
    ]
}
MISTAKES = [
    Protocol("no crop", "the border is compared too", luma, crop=False),
    Protocol("RGB", "all three channels instead of Y", _rgb),
    Protocol("OpenCV Y", "cv2's full-range Y instead of MATLAB's 16-235", _opencv_luma),
]
EVERY_PROTOCOL = [*PROTOCOLS.values(), *MISTAKES]
