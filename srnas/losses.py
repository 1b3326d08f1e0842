"""Losses between SR and HR, both (B, 3, H, W) RGB in [0, 1]: scalars, means over all."""

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from srnas.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES = Registry("loss")


@LOSSES.register("l1")
def l1() -> Loss:
    """Mean absolute difference."""
    return F.l1_loss


@LOSSES.register("charbonnier")
def charbonnier(*, eps: Annotated[float, Gt(0)] = 1e-3) -> Loss:
    """mean of sqrt(d^2 + eps^2) (Lai et al., LapSRN, CVPR 2017; eps = 1e-3)."""
    return lambda sr, hr: torch.sqrt((sr - hr).square() + eps**2).mean()
