"""Attentions at the end of a block of convolutions.

Each maps the output of the block's convolutions and the input of the block, (B, C, H, W) both, to
the same shape. `reads` and `makes` name the layers whose inputs and outputs are these channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOL, POOL_STRIDE = 7, 3  # of the soft pooling
LARGEST = 75.0  # exponent of a weight: sums of 49 weights times 10,000 stay below 3.4e38


class LocalImportance(nn.Module):
    """Local importance-based attention (PlainUSR).

    The output is x * w * sigmoid(x_1), where x_1 is the first channel, and w the importance of
    regions: a 1x1 convolution, soft pooling (7x7, stride 3), a 3x3 convolution of stride 2, another
    3x3 and a sigmoid, bilinearly resized to the size of x. Height and width must be at least 7.

    Wang, Li, Wang, Liu: PlainUSR, ACCV 2024.

    Args:
        channels: Channels of input and output.
        hidden: Channels of the pooled features.
    """

    min_size = POOL
    scales_by_first = True
    reads, makes = ("squeeze",), ("excite",)

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.shrink = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.excite = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Scale each value of x by its attention in [0, 1]."""
        pooled = soft_pool(self.squeeze(x), POOL, POOL_STRIDE)
        importance = torch.sigmoid(self.excite(self.shrink(pooled)))
        resized = F.interpolate(importance, x.shape[2:], mode="bilinear", align_corners=False)
        return x * resized * torch.sigmoid(x[:, :1])


class Gate(nn.Module):
    """The attention of the smallest PlainUSR networks: x * sigmoid(x_1) * sigmoid(conv(x)).

    Args:
        channels: Channels of input and output.
    """

    min_size = 1
    scales_by_first = True
    reads, makes = ("conv",), ("conv",)

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Scale each value of x by its attention in [0, 1]."""
        return x * torch.sigmoid(x[:, :1]) * torch.sigmoid(self.conv(x))


class ParameterFree(nn.Module):
    """The parameter-free attention of SPAN: (x + before) * (sigmoid(x) - 1/2).

    Wan et al.: Swift Parameter-free Attention Network for Efficient Super-Resolution, CVPR
    Workshops 2024.
    """

    min_size = 1

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Scale the sum of both by an attention in [-1/2, 1/2]."""
        return (x + before) * (torch.sigmoid(x) - 0.5)


class Guided(nn.Module):
    """The attention of SPANV2: (x + before) * guide(x), where guide is a 1x1 convolution.

    The NTIRE 2026 Challenge on Efficient Super-Resolution (arXiv:2604.03198), team XiaomiMM, after
    the released code of the challenge.

    Args:
        channels: Channels of input and output.
    """

    min_size = 1
    reads, makes = ("guide",), ("guide",)

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.guide = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Scale the sum of both by the guidance."""
        return (x + before) * self.guide(x)


def soft_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Average windows of (B, C, H, W) with weights exp(x), without padding.

    Stergiou, Poppe, Kalliatakis: Refining activation downsampling with SoftPool, ICCV 2021. It is
    computed in float32 or more. Exponents beyond 75 count as 75, so that no sum overflows or
    vanishes: PlainUSR's networks have exponents up to 16 on photographs, but 250 on checkerboards.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    weights = torch.exp(wide.clamp(-LARGEST, LARGEST))
    pooled = F.avg_pool2d(weights * wide, size, stride) / F.avg_pool2d(weights, size, stride)
    return pooled.to(x.dtype)


@dataclass(frozen=True)
class AttentionPrimitive:
    """An attention as a candidate operation; its modules take (x, before).

    Attributes:
        name: Name in `ATTENTIONS`, or "none".
        hidden: Channels of pooled features.
    """

    name: str
    hidden: int
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    @property
    def parameter_free(self) -> bool:
        """Whether the attention has no weights."""
        return self.name in ("none", "span")

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the attention; see `Primitive.build`."""
        make = ATTENTIONS.get(self.name)
        return make(in_channels, self.hidden) if make else Unchanged()

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the MACs of its convolutions per pixel."""
        c, f = in_channels, self.hidden
        shrunk = POOL_STRIDE**2 * 2**2  # pixels for one of the importance map
        costs = {"lia": c * f + 9 * f * (f + c) // shrunk, "gate": 9 * c * c, "spanv2": c * c}
        return costs.get(self.name, 0)


class Unchanged(nn.Module):
    """No attention."""

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """Return x."""
        return x


ATTENTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "lia": LocalImportance,
    "gate": Gate,
    "span": ParameterFree,
    "spanv2": Guided,
}
"""Builders by name, from the channels and those of pooled features."""
