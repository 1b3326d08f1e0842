"""The candidate operations of DARTS' cells, as in its released code, and RobustDARTS' noise.

none, max_pool_3x3, avg_pool_3x3, skip_connect (at stride 2 a factorized reduction),
sep_conv_3x3, 5x5: ReLU, depthwise, pointwise, BatchNorm, twice. dil_conv_3x3, 5x5: the same
once, dilated by 2. noise: N(0, 1), whatever the input (the S4 space of Zela et al., ICLR 2020).

They keep the number of channels. Pooling brings a BatchNorm along while searching, and is bare
in a derived network: `searched_norm`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from srnas.primitives.separable import relu_separable
from srnas.registry import Registry

DARTS_PRIMITIVES = Registry("candidate")


def relu_conv_bn(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, affine: bool = True
) -> nn.Sequential:
    """ReLU, convolution without bias, BatchNorm: (B, C_in, H, W) -> (B, C_out, H/s, W/s)."""
    padding = kernel_size // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels, affine=affine),
    )


class FactorizedReduce(nn.Module):
    """Halves an image's even sides: half of the channels from its even pixels, half from its odd.

    out_channels: even.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        half = out_channels // 2
        self.even = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(2 * half, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return self.bn(torch.cat((self.even(x), self.odd(x[:, :, 1:, 1:])), dim=1))


class Zero(nn.Module):
    """No connection: zeros of the output's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(Zero):
    """N(0, 1) of the output's shape, drawn anew at every pass."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(super().forward(x))


@dataclass(frozen=True)
class ParameterFree:
    """A candidate without weights (but for a skip connection's at stride 2).

    layer: (channels, stride, affine) -> the module.
    """

    layer: Callable[[int, int, bool], nn.Module]
    searched_norm: bool = False
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    parameter_free: ClassVar[bool] = True

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """(B, C, H, W) -> (B, C, H/stride, W/stride)."""
        assert in_channels == out_channels, (in_channels, out_channels)
        return self.layer(out_channels, stride, affine)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """None: pooling multiplies nothing."""
        return 0


@dataclass(frozen=True)
class SeparableConv:
    """`repeats` times ReLU, depthwise, pointwise, BatchNorm; the first with the stride."""

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
        """(B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        layers: list[nn.Module] = []
        for repeat in range(self.repeats):
            out = out_channels if repeat == self.repeats - 1 else in_channels
            step = stride if repeat == 0 else 1
            layers += relu_separable(in_channels, out, self.kernel_size, step, self.dilation)
            layers.append(nn.BatchNorm2d(out, affine=affine))
        return nn.Sequential(*layers)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Which is also the number of its convolutions' weights."""
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


# in the order of the released code, which is that of the logits
for _name, _primitive in {
    "none": ParameterFree(_zero),
    "max_pool_3x3": ParameterFree(_max_pool, searched_norm=True),
    "avg_pool_3x3": ParameterFree(_avg_pool, searched_norm=True),
    "skip_connect": ParameterFree(_skip),
    "sep_conv_3x3": SeparableConv(3),
    "sep_conv_5x5": SeparableConv(5),
    "dil_conv_3x3": SeparableConv(3, repeats=1, dilation=2),
    "dil_conv_5x5": SeparableConv(5, repeats=1, dilation=2),
    "noise": ParameterFree(_noise),
}.items():
    DARTS_PRIMITIVES.register(_name)(_primitive)
