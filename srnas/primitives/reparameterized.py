"""3x3 convolutions that are trained as several branches.

The parameters are those of linear branches. The forward pass merges them into one kernel and
applies it, so that a training step costs little more than one of a plain convolution; `merged`
returns that convolution. Where a 1x1 convolution comes before a 3x3 one, its output is padded by
its bias, which is what it makes of zeros; so one convolution with zero padding is equal at the
borders too.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 2  # hidden channels of the branches, as a multiple of the channels
REDUCTION = 4  # of the attention of RepMBConv

Affine = tuple[Tensor, Tensor]
"""Kernel (C_out, C_in, side, side) and bias (C_out,) of a convolution."""


class Reparameterized(nn.Module, ABC):
    """Base class of 3x3 convolutions with zero padding whose kernel is made of other parameters.

    Attributes:
        conv: The 3x3 convolution among the branches, with as many channels or more.
    """

    conv: nn.Conv2d

    @abstractmethod
    def kernel_and_bias(self) -> Affine:
        """Return the merged kernel (C_out, C_in, 3, 3) and bias (C_out,), differentiably."""

    @abstractmethod
    def clear_way(self) -> Tensor | float:
        """Set the other branches so that `conv` goes straight from the input to the output.

        Its first C_in channels are then the input, and its first C_out channels the output.

        Returns:
            The factors that they are multiplied by on the way, (C_out,) or a number.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        with torch.autocast(x.device.type, enabled=False):  # half precision is for the result only
            kernel, bias = self.kernel_and_bias()
        return F.conv2d(x, kernel, bias, padding=1)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """Return the plain convolution with the same output."""
        kernel, bias = self.kernel_and_bias()
        conv = nn.Conv2d(kernel.shape[1], len(kernel), 3, padding=1, device="meta")
        conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias)
        return conv

    @torch.no_grad()
    def adopt(self, kernel: Tensor, bias: Tensor) -> None:
        """Become a convolution with another kernel and bias, without losing any parameter.

        Parameters that are multiplied by zero keep their values, so training continues with all.

        Args:
            kernel: (C_out, C_in, 3, 3).
            bias: (C_out,).
        """
        channels, inputs = kernel.shape[:2]
        factors = torch.as_tensor(self.clear_way())
        have, have_bias = self.kernel_and_bias()
        self.conv.weight[:channels, :inputs] += (kernel - have) / factors.reshape(-1, 1, 1, 1)
        _bias(self.conv)[:channels] += (bias - have_bias) / factors


class RepMBConv(Reparameterized):
    """Inverted bottleneck (PlainUSR): squeeze(a * conv(expand(x)) + expand(x)) + x.

    expand and squeeze are 1x1 convolutions to and from twice the channels. x is added where the
    numbers of input and output channels are equal. The attention
    a = sigmoid(W2 silu(W1 t)) does not depend on x but on a learned vector t. With `mix`, a 1x1
    convolution of all channels of the result takes the place of its first channel.

    Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024,
    with the initial values of its released code. There a is 1 at first, up to the sigmoid's
    rounding; with 16 channels and more, it has no gradient.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        mix: Whether the first output channel becomes a mixture of all.
    """

    def __init__(self, inputs: int, outputs: int, mix: bool = False) -> None:
        super().__init__()
        hidden = _hidden(inputs, outputs)
        self.expand = nn.Conv2d(inputs, hidden, 1)
        self.conv = nn.Conv2d(hidden, hidden, 3)
        self.squeeze = nn.Conv2d(hidden, outputs, 1)
        self.latent = nn.Parameter(torch.full((1, hidden, 1, 1), 0.1))
        narrow = max(hidden // REDUCTION, 1)
        self.reduce = nn.Parameter(torch.ones(narrow, hidden))
        self.restore = nn.Parameter(torch.ones(hidden, narrow))
        self.mix = nn.Conv2d(outputs, 1, 1) if mix else None
        if self.mix:
            nn.init.constant_(self.mix.weight, 1 / outputs)
            nn.init.zeros_(_bias(self.mix))

    def attention(self) -> Tensor:
        """Return the factors of the hidden channels, (2 C,) in [0, 1]."""
        return torch.sigmoid(self.restore @ F.silu(self.reduce @ self.latent.flatten()))

    def kernel_and_bias(self) -> Affine:
        """Return the merged kernel and bias; see `Reparameterized.kernel_and_bias`."""
        factors = self.attention()
        kernel = _plus_input(factors[:, None, None, None] * self.conv.weight)
        kernel, bias = _after(self.expand, (kernel, factors * _bias(self.conv)))
        kernel, bias = _before(self.squeeze, (kernel, bias))
        kernel = _plus_input(kernel)
        if self.mix:
            first, first_bias = _before(self.mix, (kernel, bias))
            kernel, bias = torch.cat([first, kernel[1:]]), torch.cat([first_bias, bias[1:]])
        return kernel, bias

    def clear_way(self) -> Tensor:
        """Pass the first half of the hidden channels; see `Reparameterized.clear_way`."""
        _pass_first(self.expand)
        _pass_first(self.squeeze)
        if self.mix:
            _pass_first(self.mix)
        return self.attention()[: len(_bias(self.squeeze))]


class ECB(Reparameterized):
    """Edge-oriented convolution block (ECBSR).

    The sum of a 3x3 convolution; a 1x1 convolution to twice the channels and a 3x3 one; for each of
    Sobel's two filters and Laplace's a 1x1 convolution and the filter, scaled by channel; and x,
    where the numbers of input and output channels are equal.

    Zhang, Zeng, Zhang: Edge-oriented Convolution Block for Real-time Super Resolution on Mobile
    Devices, ACM MM 2021, with the initial values of its released code. The 1x1 convolutions before
    the filters have no bias here: a filter makes zero of it.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    FILTERS = (
        ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
        ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
        ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    )
    filters: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = _hidden(inputs, outputs)
        self.conv = nn.Conv2d(inputs, outputs, 3)
        self.expand = nn.Conv2d(inputs, hidden, 1)
        self.squeeze = nn.Conv2d(hidden, outputs, 3)
        self.edges = nn.Conv2d(inputs, 3 * outputs, 1, bias=False)
        self.edge_scale = nn.Parameter(1e-3 * torch.randn(3, outputs))
        self.edge_bias = nn.Parameter(1e-3 * torch.randn(3, outputs))
        self.register_buffer("filters", torch.tensor(self.FILTERS).float(), persistent=False)

    def kernel_and_bias(self) -> Affine:
        """Return the merged kernel and bias; see `Reparameterized.kernel_and_bias`."""
        kernel, bias = _after(self.expand, (self.squeeze.weight, _bias(self.squeeze)))
        pointwise = self.edges.weight[:, :, 0, 0].unflatten(0, (3, -1))
        edges = torch.einsum("fo,foi,fhw->oihw", self.edge_scale, pointwise, self.filters)
        kernel = _plus_input(kernel + self.conv.weight + edges)
        return kernel, bias + _bias(self.conv) + self.edge_bias.sum(0)

    def clear_way(self) -> float:
        """Leave all branches as they are; see `Reparameterized.clear_way`."""
        return 1.0


class Conv3XC(Reparameterized):
    """The convolution of SPAN: squeeze(conv(expand(x))) + skip(x).

    expand, squeeze and skip are 1x1 convolutions, the first two to and from twice the channels.

    Wan, Yu, Li, Chen, Zou, Liu, Yin, Zuo: Swift Parameter-free Attention Network for Efficient
    Super-Resolution, CVPR Workshops 2024, after its released code. That pads x by zeros and then
    expands it, which is the padding of this module.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = _hidden(inputs, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1)
        self.expand = nn.Conv2d(inputs, hidden, 1)
        self.conv = nn.Conv2d(hidden, hidden, 3)
        self.squeeze = nn.Conv2d(hidden, outputs, 1)

    def kernel_and_bias(self) -> Affine:
        """Return the merged kernel and bias; see `Reparameterized.kernel_and_bias`."""
        inner = _after(self.expand, (self.conv.weight, _bias(self.conv)))
        kernel, bias = _before(self.squeeze, inner)
        return kernel + F.pad(self.skip.weight, (1, 1, 1, 1)), bias + _bias(self.skip)

    def clear_way(self) -> float:
        """Pass the first half of the hidden channels; see `Reparameterized.clear_way`."""
        _pass_first(self.expand)
        _pass_first(self.squeeze)
        return 1.0


REPARAMETERIZED: dict[str, Callable[[int, int, bool], Reparameterized]] = {
    "rep_mbconv": RepMBConv,
    "ecb": lambda inputs, outputs, mix: ECB(inputs, outputs),
    "conv3xc": lambda inputs, outputs, mix: Conv3XC(inputs, outputs),
}
"""Builders of a 3x3 convolution by the name of its form, from the channels of input and output and
whether what follows gives its first output channel a part of its own."""


def merge_convolutions(network: nn.Module) -> None:
    """Replace all re-parameterized convolutions of a network by plain ones, in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Reparameterized):
                module.register_module(name, child.merged())


def reparameterize_convolutions(network: nn.Module, form: str) -> None:
    """Replace the plain 3x3 convolutions of a network by a form with the same output, in place.

    Those with a bias are replaced that have neither stride, dilation nor groups, and keep height
    and width by zeros. `merge_convolutions` is the way back.

    Args:
        network: The network.
        form: Name of the form in `REPARAMETERIZED`.
    """
    for module in list(network.modules()):
        if isinstance(module, Reparameterized):
            continue
        for name, child in list(module.named_children()):
            if _is_plain(child):
                built = REPARAMETERIZED[form](child.in_channels, child.out_channels, False)
                built.to(child.weight.device)
                built.adopt(child.weight, _bias(child))
                module.register_module(name, built)


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    plain = {"kernel_size": (3, 3), "stride": (1, 1), "dilation": (1, 1), "groups": 1}
    return (
        type(module) is nn.Conv2d
        and all(getattr(module, key) == value for key, value in plain.items())
        and module.padding in ((1, 1), "same")
        and module.padding_mode == "zeros"
        and module.bias is not None
    )


def _hidden(inputs: int, outputs: int) -> int:
    """Return how many channels the branches have: twice the smaller number, and all of them."""
    return max(EXPANSION * min(inputs, outputs), inputs, outputs)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _plus_input(kernel: Tensor) -> Tensor:
    """Add the input to the output of a 3x3 kernel, where they have as many channels."""
    if kernel.shape[0] != kernel.shape[1]:
        return kernel
    eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    return kernel + F.pad(eye[:, :, None, None], (1, 1, 1, 1))


def _after(first: nn.Conv2d, affine: Affine) -> Affine:
    """Merge a 1x1 convolution with a 3x3 one that follows it, on its output padded by its bias."""
    kernel, bias = affine
    merged = torch.einsum("omhw,mi->oihw", kernel, first.weight[:, :, 0, 0])
    return merged, bias + torch.einsum("omhw,m->o", kernel, _bias(first))


def _before(last: nn.Conv2d, affine: Affine) -> Affine:
    """Merge a 1x1 convolution with a 3x3 one that comes before it."""
    kernel, bias = affine
    weight = last.weight[:, :, 0, 0]
    return torch.einsum("om,mihw->oihw", weight, kernel), weight @ bias + _bias(last)


def _pass_first(conv: nn.Conv2d) -> None:
    """Make a 1x1 convolution the identity on its first channels, and zero on others."""
    nn.init.eye_(conv.weight[:, :, 0, 0])
    nn.init.zeros_(_bias(conv))
