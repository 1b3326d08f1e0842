"""The interface of candidate operations."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Primitive(Protocol):
    """A candidate operation: it builds modules and knows their cost.

    Attributes:
        linear_size: Side of the equivalent dense kernel, dilation included, if the operation is a
            single linear convolution (and so a `LinearPrimitive`); 0 otherwise.
        dense: Whether it is a dense convolution.
        parameter_free: Whether it has no weights at stride 1.
        searched_norm: Whether a BatchNorm follows it in mixed operations only. This is the case for
            the pooling of DARTS, whose output would otherwise differ in scale from the other
            candidates.
    """

    @property
    def linear_size(self) -> int: ...

    @property
    def dense(self) -> bool: ...

    @property
    def parameter_free(self) -> bool: ...

    @property
    def searched_norm(self) -> bool: ...

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, affine: bool = True
    ) -> nn.Module:
        """Build the operation.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            stride: Stride of the operation.
            affine: Whether its BatchNorm has scale and shift.

        Returns:
            A module that maps (B, C_in, H, W) to (B, C_out, H/stride, W/stride).
        """

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Return the multiply-accumulates of its convolutions per output pixel."""


class LinearPrimitive(Primitive, Protocol):
    """A candidate operation that is a single linear convolution."""

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the equivalent dense kernel and bias of a module.

        Args:
            module: What `build` returned.

        Returns:
            Kernel (C_out, C_in, linear_size, linear_size) and bias (C_out,).
        """


Candidates = Mapping[str, Primitive]
