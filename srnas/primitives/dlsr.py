"""The nine candidate operations of the DLSR space, as in its released code.

- conv_1x1, conv_3x3, conv_5x5, conv_7x7: a single convolution.
- sep_conv_3x3, sep_conv_5x5, sep_conv_7x7: ReLU, depthwise convolution and pointwise
  convolution, twice.
- dil_conv_3x3, dil_conv_5x5: the same once, with dilation 2 in the depthwise convolution.

None of them has a bias or BatchNorm.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from srnas.primitives.separable import relu_separable


@dataclass(frozen=True)
class DLSRConv:
    """A convolution of the DLSR space, dense or separable.

    Attributes:
        kernel_size: Side of the dense kernel or of the depthwise kernels.
        repeats: How often ReLU, depthwise and pointwise convolution follow each other; 0 for a
            single dense convolution.
        dilation: Dilation of the depthwise convolutions.
    """

    kernel_size: int
    repeats: int = 0
    dilation: int = 1
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride).

        `affine` has no effect, since there is no BatchNorm.
        """
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
        """Whether the primitive is a dense convolution."""
        return not self.repeats

    @property
    def linear_size(self) -> int:
        """Side of its kernel if it is a single linear convolution, else 0."""
        return self.kernel_size if self.dense else 0

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the kernel of a dense convolution, and zeros as its bias.

        Args:
            module: What `build` returned.

        Returns:
            Kernel (C_out, C_in, kernel_size, kernel_size) and bias (C_out,).
        """
        assert self.dense, self
        assert isinstance(module, nn.Conv2d), module
        return module.weight, module.weight.new_zeros(module.out_channels)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the MACs per output pixel, which is also the number of weights."""
        taps = self.kernel_size**2
        if self.dense:
            return taps * in_channels * out_channels
        inner = (self.repeats - 1) * (taps + in_channels) * in_channels
        return inner + (taps + out_channels) * in_channels


DLSR_PRIMITIVES: dict[str, DLSRConv] = {
    **{f"conv_{size}x{size}": DLSRConv(size) for size in (1, 3, 5, 7)},
    **{f"sep_conv_{size}x{size}": DLSRConv(size, repeats=2) for size in (3, 5, 7)},
    **{f"dil_conv_{size}x{size}": DLSRConv(size, repeats=1, dilation=2) for size in (3, 5)},
}
