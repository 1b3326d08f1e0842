"""3x3 convolutions that are trained as several branches.

The parameters are those of linear branches; the forward pass merges their kernels into one and
applies it, differentiably in the parameters. The padding of an inner 3x3 convolution is the bias
of the 1x1 convolution before it, which is what that one makes of a zero; so the merged convolution
with zero padding is equal at the borders too. A training step costs little more than one with a
plain convolution, and `merged` returns that convolution.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Affine = tuple[Tensor, Tensor]
"""Kernel (C_out, C_in, side, side) and bias (C_out,) of a convolution."""


class Reparameterized(nn.Module, ABC):
    """Base class of 3x3 convolutions with zero padding whose kernel is made of other parameters."""

    @abstractmethod
    def kernel_and_bias(self) -> Affine:
        """Return the kernel (C_out, C_in, 3, 3) and bias (C_out,), with their gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        with torch.autocast(x.device.type, enabled=False):  # a merged kernel in half is another one
            kernel, bias = self.kernel_and_bias()
        return F.conv2d(x, kernel, bias, padding=1)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """Return the plain convolution with the same output."""
        kernel, bias = self.kernel_and_bias()
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1, device="meta")
        conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
        return conv


class RepMBConv(Reparameterized):
    """Inverted bottleneck that merges into a 3x3 convolution (PlainUSR).

    y = squeeze(a * conv(expand(x)) + expand(x)) + x, where expand doubles the channels by a 1x1
    convolution, conv is 3x3, squeeze is 1x1, and a = sigmoid(W2 silu(W1 t)) scales the channels by
    an attention that does not depend on x: t is learned. With `mix`, a 1x1 convolution of all
    channels of y then replaces its first channel.

    Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024,
    with the initial values of its released code.

    Args:
        channels: Channels of input and output.
        mix: Whether the first output channel becomes a mixture of all.
    """

    EXPANSION = 2
    REDUCTION = 4

    def __init__(self, channels: int, mix: bool = False) -> None:
        super().__init__()
        hidden = self.EXPANSION * channels
        self.expand = nn.Conv2d(channels, hidden, 1)
        self.conv = nn.Conv2d(hidden, hidden, 3)
        self.squeeze = nn.Conv2d(hidden, channels, 1)
        self.seed = nn.Parameter(torch.full((1, hidden, 1, 1), 0.1))
        bottleneck = max(hidden // self.REDUCTION, 1)
        self.reduce = nn.Parameter(torch.ones(bottleneck, hidden))
        self.restore = nn.Parameter(torch.ones(hidden, bottleneck))
        self.mix = nn.Conv2d(channels, 1, 1) if mix else None
        if self.mix is not None:
            nn.init.constant_(self.mix.weight, 1 / channels)
            nn.init.zeros_(_bias(self.mix))

    def attention(self) -> Tensor:
        """Return the factors of the hidden channels, (2 C,) in [0, 1]."""
        return torch.sigmoid(self.restore @ F.silu(self.reduce @ self.seed.flatten()))

    def kernel_and_bias(self) -> Affine:
        """Return the merged kernel and bias."""
        factor = self.attention()
        kernel = factor[:, None, None, None] * self.conv.weight + _identity(factor)
        inner = _after((kernel, factor * _bias(self.conv)), self.expand)
        kernel, bias = _before(self.squeeze, inner)
        kernel = kernel + _identity(bias)
        if self.mix is not None:
            first, first_bias = _before(self.mix, (kernel, bias))
            kernel, bias = torch.cat([first, kernel[1:]]), torch.cat([first_bias, bias[1:]])
        return kernel, bias


def merge_convolutions(network: nn.Module) -> None:
    """Replace all re-parameterized convolutions of a network by the plain ones, in place."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, Reparameterized):
                module.register_module(name, child.merged())


REPARAMETERIZED: dict[str, Callable[[int, bool], nn.Module]] = {
    "none": lambda channels, mix: nn.Conv2d(channels, channels, 3, padding=1),
    "rep_mbconv": RepMBConv,
}
"""Builders of a block's 3x3 convolution by name, from its channels and whether an attention reads
the first of them."""


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _identity(like: Tensor) -> Tensor:
    """Return the 3x3 kernel of the identity of as many channels as a vector has values."""
    eye = torch.eye(len(like), dtype=like.dtype, device=like.device)
    return F.pad(eye[:, :, None, None], (1, 1, 1, 1))


def _after(affine: Affine, first: nn.Conv2d) -> Affine:
    """Merge a 1x1 convolution with the 3x3 convolution that follows it."""
    kernel, bias = affine
    merged = torch.einsum("omhw,mi->oihw", kernel, first.weight[:, :, 0, 0])
    return merged, bias + torch.einsum("omhw,m->o", kernel, _bias(first))


def _before(last: nn.Conv2d, affine: Affine) -> Affine:
    """Merge a 3x3 convolution with the 1x1 convolution that follows it."""
    kernel, bias = affine
    weight = last.weight[:, :, 0, 0]
    return torch.einsum("om,mihw->oihw", weight, kernel), weight @ bias + _bias(last)
