"""Named evaluation protocols: what is done to SR and HR before they are compared."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from srnas.metrics.quality import luma, psnr, ssim


@dataclass(frozen=True)
class Protocol:
    """How a pair of uint8 RGB images becomes PSNR (dB) and SSIM."""

    name: str
    description: str
    channel: Callable[[np.ndarray], np.ndarray]

    def __call__(self, sr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[float, float]:
        """sr, hr: (H, W, 3) uint8 RGB of equal size, cropped to the scale -> (PSNR, SSIM)."""
        assert sr.shape == hr.shape, (sr.shape, hr.shape)
        inner = (slice(scale, -scale), slice(scale, -scale))
        a, b = self.channel(sr[inner]), self.channel(hr[inner])
        return psnr(a, b), ssim(a, b)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in [
        Protocol("basicsr", "Y of MATLAB's rgb2ycbcr, not rounded; `scale` pixels cut off", luma)
    ]
}
