"""The five candidate operations of NAS-Bench-201 (Dong, Yang, ICLR 2020), in its order.

none, skip_connect, nor_conv_1x1, nor_conv_3x3 (ReLU, convolution, BatchNorm), avg_pool_3x3. What
they share with DARTS is DARTS' own, but for the pooling: it has no BatchNorm while searching.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from srnas.primitives.darts import DARTS_PRIMITIVES, relu_conv_bn
from srnas.registry import Registry

NB201_PRIMITIVES = Registry("candidate")


@dataclass(frozen=True)
class ReLUConvBN:
    """ReLU, a dense convolution without bias, BatchNorm."""

    kernel_size: int
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """(B, C_in, H, W) -> (B, C_out, H/stride, W/stride)."""
        return relu_conv_bn(in_channels, out_channels, self.kernel_size, stride, affine)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Which is also the number of its convolution's weights."""
        return self.kernel_size**2 * in_channels * out_channels


for _name, _primitive in {
    "none": DARTS_PRIMITIVES["none"],
    "skip_connect": DARTS_PRIMITIVES["skip_connect"],
    "nor_conv_1x1": ReLUConvBN(1),
    "nor_conv_3x3": ReLUConvBN(3),
    "avg_pool_3x3": replace(DARTS_PRIMITIVES["avg_pool_3x3"], searched_norm=False),
}.items():
    NB201_PRIMITIVES.register(_name)(_primitive)
