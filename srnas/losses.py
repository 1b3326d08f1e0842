"""Losses between two images, (B, 3, H, W) RGB in [0, 1].

Each is a scalar, the mean over all values. Names that are not registered here are looked up among
BasicSR's losses.
"""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from srnas.basicsr_bridge import basicsr_loss
from srnas.components import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: Registry[Loss] = Registry("loss", elsewhere=basicsr_loss)


@LOSSES.register("l1")
def l1() -> Loss:
    """Mean absolute difference."""
    return F.l1_loss


@LOSSES.register("l1_hfen")
def l1_hfen(*, weight: Annotated[float, Ge(0)] = 0.2 / 255) -> Loss:
    """L1 + weight * HFEN, the loss of DLSR.

    Args:
        weight: Weight of HFEN. DLSR uses 0.2 with an L1 on RGB in 0-255. HFEN does not depend on
            the range, so the same loss on RGB in 0-1 has 0.2 / 255.
    """
    return lambda sr, hr: F.l1_loss(sr, hr) + weight * hfen(sr, hr)


def hfen(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute the high-frequency error norm of DLSR's released code: L1 between edge maps.

    The edge map of an image is the Laplacian, summed over RGB, of the image smoothed by a 5x5
    Gaussian (sigma 1.5). It is divided by its largest (signed) value over the batch unless this is
    0.

    Args:
        sr, hr: Images (B, 3, H, W) with sides of at least 5.

    Returns:
        A scalar.
    """
    return F.l1_loss(_edges(sr), _edges(hr))


def _edges(image: Tensor) -> Tensor:
    """Map (B, 3, H, W) to edge maps, (B, 1, H-4, W-4)."""
    at = torch.arange(-2.0, 3.0, dtype=image.dtype, device=image.device)
    profile = torch.exp(-at.square() / (2 * 1.5**2))
    profile = profile / profile.sum()
    gaussian = torch.outer(profile, profile).expand(3, 1, 5, 5)
    cross = image.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(1, 3, 3, 3)
    edges = F.conv2d(F.conv2d(image, gaussian, groups=3), cross, padding=1)
    peak = edges.max()
    return edges / torch.where(peak == 0, torch.ones_like(peak), peak)


@LOSSES.register("charbonnier")
def charbonnier(*, eps: Annotated[float, Gt(0)] = 1e-3) -> Loss:
    """Mean of sqrt(d^2 + eps^2) over the differences d (Lai et al., LapSRN, CVPR 2017).

    Args:
        eps: Smoothing constant.
    """
    return lambda sr, hr: torch.sqrt((sr - hr).square() + eps**2).mean()
