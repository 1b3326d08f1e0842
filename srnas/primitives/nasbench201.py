"""The five candidate operations of NAS-Bench-201 (Dong, Yang, ICLR 2020), in its order.

none, skip_connect and avg_pool_3x3 are those of DARTS, except that no BatchNorm follows the
pooling during the search. nor_conv_1x1 and nor_conv_3x3 are ReLU, convolution and BatchNorm.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from srnas.primitives.darts import DARTS_PRIMITIVES, ParameterFree, SeparableConv, relu_conv_bn


@dataclass(frozen=True)
class ReLUConvBN:
    """ReLU, a dense convolution without bias, and BatchNorm.

    Attributes:
        kernel_size: Side of the kernel.
    """

    kernel_size: int
    linear_size: ClassVar[int] = 0
    dense: ClassVar[bool] = False
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride)."""
        return relu_conv_bn(in_channels, out_channels, self.kernel_size, stride, affine)

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the MACs per output pixel, which is also the number of convolution weights."""
        return self.kernel_size**2 * in_channels * out_channels


_pooling = DARTS_PRIMITIVES["avg_pool_3x3"]
assert isinstance(_pooling, ParameterFree)

NB201_PRIMITIVES: dict[str, ParameterFree | SeparableConv | ReLUConvBN] = {
    "none": DARTS_PRIMITIVES["none"],
    "skip_connect": DARTS_PRIMITIVES["skip_connect"],
    "nor_conv_1x1": ReLUConvBN(1),
    "nor_conv_3x3": ReLUConvBN(3),
    "avg_pool_3x3": replace(_pooling, searched_norm=False),
}
