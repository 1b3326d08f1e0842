"""Named evaluation protocols: how SR and HR images are prepared before they are compared.

`ntire_esr` is the rule of the NTIRE challenges on efficient super-resolution: `calculate_psnr` and
`calculate_ssim` in utils/utils_image.py of github.com/Amazingren/NTIRE2025_ESR (unchanged since
2024), which test_demo.py calls with border=4 at x4. Both images are 8-bit RGB; the MSE is over all
three channels, and SSIM is the mean over the channels. At x2 and x3 the border is the scale, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from srnas.metrics import Metric
from srnas.metrics.fidelity import PSNR, SSIM, Channel, rgb
from srnas.metrics.metric import Image
from srnas.metrics.quality import luma

EDSR_LUMA = np.array([65.738, 129.057, 25.064]) / 256


@dataclass(frozen=True)
class Protocol:
    """How the metrics "psnr" (dB) and "ssim" are computed, and whether metrics see the borders.

    Attributes:
        name: Short name.
        description: One line for tables.
        channel: Function from an (H, W, 3) uint8 RGB image to the values that are compared, in
            [0, 255].
        crop: Whether `scale` pixels are cut off at each border first, for all metrics.
    """

    name: str
    description: str
    channel: Channel
    crop: bool = True

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics that the protocol defines, by name: "psnr" and "ssim"."""
        return {"psnr": PSNR(self.channel), "ssim": SSIM(self.channel)}

    def __call__(
        self, sr: Image, hr: Image, scale: int, metrics: Mapping[str, Metric] | None = None
    ) -> dict[str, float]:
        """Compute metrics of an image.

        Args:
            sr: SR image, (H, W, 3) uint8 RGB.
            hr: HR image of the same shape, cropped to a multiple of the scale.
            scale: Scale factor; the number of pixels to cut off at each border.
            metrics: The metrics by name; by default the protocol's own.

        Raises:
            ValueError: The image is too small for a metric.
        """
        assert sr.shape == hr.shape, (sr.shape, hr.shape)
        chosen = self.metrics if metrics is None else metrics
        border = scale if self.crop else 0
        return {name: float(metric(sr, hr, border)) for name, metric in chosen.items()}


def _rounded_luma(image: Image) -> NDArray[np.float64]:
    return luma(image).round()


def _edsr_luma(image: Image) -> NDArray[np.float64]:
    return image.astype(np.float64) @ EDSR_LUMA


def _opencv_luma(image: Image) -> NDArray[Any]:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2YCrCb)[..., 0]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in [
        Protocol("basicsr", "Y of MATLAB's rgb2ycbcr, not rounded: the published results", luma),
        Protocol("imdn_script", "Y rounded to 8 bits: IMDN's own test script", _rounded_luma),
        Protocol("edsr", "luma of the RGB difference: EDSR's and DLSR's code", _edsr_luma),
        Protocol("ntire_esr", "R, G and B instead of Y: NTIRE's efficient SR challenges", rgb),
    ]
}
MISTAKES = [
    Protocol("no crop", "the border is compared too", luma, crop=False),
    Protocol("OpenCV Y", "cv2's full-range Y instead of MATLAB's 16-235", _opencv_luma),
]
EVERY_PROTOCOL = [*PROTOCOLS.values(), *MISTAKES]
