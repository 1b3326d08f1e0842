"""The nine candidate operations of the DLSR space, as in its released code.

conv_1x1 ... conv_7x7: a bare convolution. sep_conv_3x3 ... 7x7: ReLU, depthwise, pointwise,
twice. dil_conv_3x3, 5x5: ReLU, depthwise with dilation 2, pointwise. No bias, no BatchNorm.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from srnas.primitives.separable import relu_separable
from srnas.registry import Registry

DLSR_PRIMITIVES = Registry("candidate")


@dataclass(frozen=True)
class DLSRConv:
    """One of the family: `repeats` 0 is the bare convolution, else so many ReLU-dw-pw."""

    kernel_size: int
    repeats: int = 0
    dilation: int = 1
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """(B, C_in, H, W) -> (B, C_out, H/stride, W/stride); `affine` is without effect."""
        if not self.repeats:
            padding = self.kernel_size // 2
            return nn.Conv2d(
                in_channels, out_channels, self.kernel_size, stride, padding, bias=False
            )
        layers: list[nn.Module] = []
        for repeat in range(self.repeats):
            out = out_channels if repeat == self.repeats - 1 else in_channels
            step = stride if repeat == 0 else 1
            layers += relu_separable(in_channels, out, self.kernel_size, step, self.dilation)
        return nn.Sequential(*layers)

    @property
    def dense(self) -> bool:
        """Whether it is a dense convolution."""
        return not self.repeats

    @property
    def linear_size(self) -> int:
        """The side of its kernel, if it is one linear convolution, else 0."""
        return self.kernel_size if self.dense else 0

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """The kernel and a bias of zeros; only of a bare convolution."""
        assert self.dense, self
        return module.weight, module.weight.new_zeros(module.out_channels)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Which is also the number of its weights."""
        taps = self.kernel_size**2
        if self.dense:
            return taps * in_channels * out_channels
        inner = (self.repeats - 1) * (taps + in_channels) * in_channels
        return inner + (taps + out_channels) * in_channels


for _kernel in (1, 3, 5, 7):
    DLSR_PRIMITIVES.register(f"conv_{_kernel}x{_kernel}")(DLSRConv(_kernel))
for _kernel in (3, 5, 7):
    DLSR_PRIMITIVES.register(f"sep_conv_{_kernel}x{_kernel}")(DLSRConv(_kernel, repeats=2))
for _kernel in (3, 5):
    DLSR_PRIMITIVES.register(f"dil_conv_{_kernel}x{_kernel}")(
        DLSRConv(_kernel, repeats=1, dilation=2)
    )
