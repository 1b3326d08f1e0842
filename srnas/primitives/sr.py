"""The 12 candidate convolutions of the IMDN space.

{conv, ds_conv, dil_ds_conv} x {3x3, 5x5} x {plain, _bn}: a dense convolution, a depthwise
separable one (one depthwise + one pointwise, bias on both), the same with its depthwise part
dilated by 2; each with or without BatchNorm at its end. This form reproduces the published
sizes exactly.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from srnas.registry import Registry

SR_PRIMITIVES = Registry("candidate")


@dataclass(frozen=True)
class SRConv:
    """One of the family: a description that builds the layer and knows its cost."""

    kernel_size: int
    separable: bool = False
    dilation: int = 1
    norm: bool = False
    parameter_free: ClassVar[bool] = False
    searched_norm: ClassVar[bool] = False

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """(B, C_in, H, W) -> (B, C_out, H/stride, W/stride), zero padding, no activation."""
        spatial = {
            "kernel_size": self.kernel_size,
            "stride": stride,
            "padding": self.dilation * (self.kernel_size // 2),
            "dilation": self.dilation,
        }
        if self.separable:
            layers = [
                ("depthwise", nn.Conv2d(in_channels, in_channels, groups=in_channels, **spatial)),
                ("pointwise", nn.Conv2d(in_channels, out_channels, 1)),
            ]
        else:
            layers = [("conv", nn.Conv2d(in_channels, out_channels, **spatial))]
        if self.norm:
            layers.append(("bn", nn.BatchNorm2d(out_channels, affine=affine)))
        return nn.Sequential(OrderedDict(layers)) if len(layers) > 1 else layers[0][1]

    @property
    def dense(self) -> bool:
        """Whether it is a dense convolution."""
        return not self.separable

    @property
    def linear_size(self) -> int:
        """The side of its kernel over dilation, if it is one linear convolution, else 0."""
        return 0 if self.norm else self.dilation * (self.kernel_size - 1) + 1

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """The dense kernel and bias of a module it built; only without BatchNorm.

        Depthwise then pointwise: W[o, i] = P[o, i] D[i] and b = P b_D + b_P. Zero padding
        comes before both, so this holds at the borders too.
        """
        assert self.linear_size, self
        if self.dense:
            return module.weight, module.bias
        mix = module.pointwise.weight
        kernel = mix * module.depthwise.weight.transpose(0, 1)
        bias = mix[:, :, 0, 0] @ module.depthwise.bias + module.pointwise.bias
        if self.dilation > 1:
            spread = kernel.new_zeros(*kernel.shape[:2], self.linear_size, self.linear_size)
            spread[:, :, :: self.dilation, :: self.dilation] = kernel
            kernel = spread
        return kernel, bias

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Of the convolutions alone: a BN variant costs what its plain form costs."""
        taps = self.kernel_size**2
        if self.separable:
            return (taps + out_channels) * in_channels
        return taps * in_channels * out_channels


for _kind, _form in {
    "conv": {},
    "ds_conv": {"separable": True},
    "dil_ds_conv": {"separable": True, "dilation": 2},
}.items():
    for _kernel in (3, 5):
        for _suffix, _norm in (("", False), ("_bn", True)):
            SR_PRIMITIVES.register(f"{_kind}_{_kernel}x{_kernel}{_suffix}")(
                SRConv(_kernel, norm=_norm, **_form)
            )
