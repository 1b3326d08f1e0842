"""The candidate operations of DARTS' cells, as in its released code, and RobustDARTS' noise.

- none: zeros.
- max_pool_3x3, avg_pool_3x3.
- skip_connect: the identity; at stride 2 a factorized reduction.
- sep_conv_3x3, sep_conv_5x5: ReLU, depthwise convolution, pointwise convolution and BatchNorm,
  twice.
- dil_conv_3x3, dil_conv_5x5: the same once, with dilation 2.
- noise: N(0, 1), whatever the input (the S4 space of Zela et al., ICLR 2020).

All keep the number of channels. Pooling is followed by a BatchNorm during the search only, not in
a derived network (`searched_norm`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from srnas.distributed import draw_samples
from srnas.primitives.batchnorm import BatchNorm2d
from srnas.primitives.separable import relu_separable


def relu_conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, affine: bool = True
) -> nn.Sequential:
    """Build ReLU, a convolution without bias, and BatchNorm.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, odd.
        stride: Stride of the convolution.
        affine: Whether the BatchNorm has scale and shift.

    Returns:
        A module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride).
    """
    padding = kernel_size // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        BatchNorm2d(out_channels, affine=affine),
    )


class FactorizedReduce(nn.Module):
    """Halve the sides of a feature map with two 1x1 convolutions of stride 2.

    The first computes half of the output channels from the pixels at even positions, the second
    the other half from those at odd positions. ReLU comes before them, BatchNorm after.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, even.
        affine: Whether the BatchNorm has scale and shift.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        half = out_channels // 2
        self.even = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.bn = BatchNorm2d(2 * half, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) with even H and W to (B, C_out, H/2, W/2)."""
        x = torch.relu(x)
        out: Tensor = self.bn(torch.cat((self.even(x), self.odd(x[:, :, 1:, 1:])), dim=1))
        return out


class Zero(nn.Module):
    """Return zeros in the shape of the output: no connection."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to zeros of shape (B, C, H/stride, W/stride)."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(Zero):
    """Return N(0, 1) noise in the shape of the output, drawn anew in every forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to noise of shape (B, C, H/stride, W/stride)."""
        zeros = super().forward(x)
        # Outside training every process has the whole batch.
        return draw_samples(zeros, torch.randn_like) if self.training else torch.randn_like(zeros)


@dataclass(frozen=True)
class ParameterFree:
    """A candidate operation without weights (except for a skip connection at stride 2).

    Attributes:
        layer: Builds the module from the number of channels, the stride and `affine`.
        searched_norm: Whether a BatchNorm follows it in a mixed operation.
    """

    layer: Callable[[int, int, bool], nn.Module]
    searched_norm: bool = False
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    parameter_free: ClassVar[bool] = True

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the module that maps (B, C, H, W) to (B, C, H/stride, W/stride)."""
        assert in_channels == out_channels, (in_channels, out_channels)
        return self.layer(out_channels, stride, affine)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return 0: only the multiplications of convolutions count."""
        return 0


@dataclass(frozen=True)
class SeparableConv:
    """ReLU, depthwise convolution, pointwise convolution and BatchNorm, `repeats` times.

    Attributes:
        kernel_size: Side of the depthwise kernels.
        repeats: How often the four layers follow each other; only the first depthwise
            convolution has the stride.
        dilation: Dilation of the depthwise convolutions.
    """

    kernel_size: int
    repeats: int = 2
    dilation: int = 1
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        layers: list[nn.Module] = []
        for repeat in range(self.repeats):
            out = out_channels if repeat == self.repeats - 1 else in_channels
            step = stride if repeat == 0 else 1
            layers += relu_separable(in_channels, out, self.kernel_size, step, self.dilation)
            layers.append(BatchNorm2d(out, affine=affine))
        return nn.Sequential(*layers)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the MACs per output pixel, which is also the number of convolution weights."""
        taps = self.kernel_size**2
        inner = (self.repeats - 1) * (taps + in_channels) * in_channels
        return inner + (taps + out_channels) * in_channels


def _zero(channels: int, stride: int, affine: bool) -> nn.Module:
    return Zero(stride)


def _noise(channels: int, stride: int, affine: bool) -> nn.Module:
    return Noise(stride)


def _max_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)


def _avg_pool(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


# The order is that of the released code, and so the order of the logits.
DARTS_PRIMITIVES: dict[str, ParameterFree | SeparableConv] = {
    "none": ParameterFree(_zero),
    "max_pool_3x3": ParameterFree(_max_pool, searched_norm=True),
    "avg_pool_3x3": ParameterFree(_avg_pool, searched_norm=True),
    "skip_connect": ParameterFree(_skip),
    "sep_conv_3x3": SeparableConv(3),
    "sep_conv_5x5": SeparableConv(5),
    "dil_conv_3x3": SeparableConv(3, repeats=1, dilation=2),
    "dil_conv_5x5": SeparableConv(5, repeats=1, dilation=2),
    "noise": ParameterFree(_noise),
}
