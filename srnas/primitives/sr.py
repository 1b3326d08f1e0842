"""The 12 candidate convolutions of the IMDN space.

They are {conv, ds_conv, dil_ds_conv} x {3x3, 5x5} x {plain, _bn}:

- conv: a dense convolution.
- ds_conv: a depthwise separable one, that is, a depthwise and a pointwise convolution, both with
  bias.
- dil_ds_conv: the same with dilation 2 in the depthwise convolution.
- _bn: followed by BatchNorm.

In this form they reproduce the published model sizes exactly.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from srnas.primitives.batchnorm import BatchNorm2d
from srnas.primitives.depthwise import DepthwiseConv2d


@dataclass(frozen=True)
class SRConv:
    """A convolution of the IMDN space; it builds the module and knows its cost.

    Attributes:
        kernel_size: Side of the dense or depthwise kernel.
        separable: Whether it is depthwise separable instead of dense.
        dilation: Dilation of the dense or depthwise kernel.
        norm: Whether BatchNorm follows.
    """

    kernel_size: int
    separable: bool = False
    dilation: int = 1
    norm: bool = False
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride).

        It pads with zeros and has no activation. `affine` is whether its BatchNorm has scale
        and shift.
        """
        shape: dict[str, Any] = {
            "kernel_size": self.kernel_size,
            "stride": stride,
            "dilation": self.dilation,
        }
        layers: list[tuple[str, nn.Module]]
        if self.separable:
            layers = [
                ("depthwise", DepthwiseConv2d(in_channels, **shape)),
                ("pointwise", nn.Conv2d(in_channels, out_channels, 1)),
            ]
        else:
            padding = self.dilation * (self.kernel_size // 2)
            conv = nn.Conv2d(in_channels, out_channels, padding=padding, **shape)
            layers = [("conv", conv)]
        if self.norm:
            layers.append(("bn", BatchNorm2d(out_channels, affine=affine)))
        return nn.Sequential(OrderedDict(layers)) if len(layers) > 1 else layers[0][1]

    @property
    def dense(self) -> bool:
        """Whether the primitive is a dense convolution."""
        return not self.separable

    @property
    def linear_size(self) -> int:
        """Side of its kernel, dilation included, if it is one linear convolution, else 0."""
        return 0 if self.norm else self.dilation * (self.kernel_size - 1) + 1

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the dense kernel and bias that are equivalent to a module without BatchNorm.

        A depthwise convolution (D, b_D) followed by a pointwise one (P, b_P) equals the dense
        kernel W[o, i] = P[o, i] D[i] with the bias b = P b_D + b_P. Since the zero padding comes
        before both, this also holds at the borders.

        Args:
            module: What `build` returned.

        Returns:
            Kernel (C_out, C_in, linear_size, linear_size) and bias (C_out,).
        """
        assert self.linear_size, self
        if self.dense:
            return _weight_and_bias(module)
        depthwise, depthwise_bias = _weight_and_bias(module.depthwise)
        mix, pointwise_bias = _weight_and_bias(module.pointwise)
        kernel = mix * depthwise.transpose(0, 1)
        bias = mix[:, :, 0, 0] @ depthwise_bias + pointwise_bias
        if self.dilation > 1:
            spread = kernel.new_zeros(*kernel.shape[:2], self.linear_size, self.linear_size)
            spread[:, :, :: self.dilation, :: self.dilation] = kernel
            kernel = spread
        return kernel, bias

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the MACs per output pixel of the convolutions alone.

        A variant with BatchNorm costs the same as the plain one.
        """
        taps = self.kernel_size**2
        if self.separable:
            return (taps + out_channels) * in_channels
        return taps * in_channels * out_channels


def _weight_and_bias(module: object) -> tuple[Tensor, Tensor]:
    assert isinstance(module, nn.Conv2d), module
    assert module.bias is not None, module
    return module.weight, module.bias


SR_PRIMITIVES: dict[str, SRConv] = {
    f"{kind}_{size}x{size}{suffix}": SRConv(size, separable, dilation, norm)
    for kind, separable, dilation in (
        ("conv", False, 1),
        ("ds_conv", True, 1),
        ("dil_ds_conv", True, 2),
    )
    for size in (3, 5)
    for suffix, norm in (("", False), ("_bn", True))
}
