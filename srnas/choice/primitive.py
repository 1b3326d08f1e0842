"""What a candidate operation must offer."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Primitive(Protocol):
    """A candidate operation: how it is built and what it costs.

    Attributes:
        linear_size: The side of the dense kernel (dilation included) if the operation is one
            linear convolution (then it is a `LinearPrimitive`); 0 otherwise.
        dense: Whether it is a dense convolution.
        parameter_free: Whether it has no weights at stride 1.
        searched_norm: Whether a BatchNorm follows it in a mixed operation, and only there: DARTS'
            pooling, whose output would otherwise have another scale than its competitors'.
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
        """Build the operation; `affine` gives its BatchNorm a scale and a shift."""

    def macs_per_pixel(self, in_channels: int, out_channels: int) -> int:
        """Count the multiply-accumulates of its convolutions for one output pixel."""


class LinearPrimitive(Primitive, Protocol):
    """A candidate that is one linear convolution."""

    def as_kernel(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the kernel and bias of a module that it built.

        Returns:
            (C_out, C_in, linear_size, linear_size) and (C_out,).
        """


Candidates = Mapping[str, Primitive]
