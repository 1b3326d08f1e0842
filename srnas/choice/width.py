"""Widths: the number of channels of a layer, or of a stream that several layers share.

In the supernet the layer has the largest width. A mask weighs its channels: channel c by the sum of
the weights of all widths above c. With one-hot weights the channels beyond the width are zero, as
if they were not there. This is the channel search of Wan et al., *FBNetV2: Differentiable Neural
Architecture Search for Spatial and Channel Dimensions*, CVPR 2020 (Eq. 6), where one multiplication
replaces all widths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from srnas.choice.choice import Context, OneOf
from srnas.choice.mixed_op import SharedWeights
from srnas.choice.place import Place


@dataclass(frozen=True)
class WidthChoice(OneOf):
    """A searched number of channels.

    The layer before the module must have `module.channels` outputs, and what makes more than zeros
    of zeros (a bias, an activation) comes before the module. The bias inside a candidate, as that
    of a depthwise convolution before its pointwise one, adds a constant for channels beyond the
    width, which a derived network does not have.

    Attributes:
        place: Where it is.
        widths: The widths, ascending.
        cost: Cost of a width, by default the width: MACs per pixel of the layers that have it, with
            everything else as large as it can be.
    """

    place: Place
    widths: Sequence[int]
    cost: Callable[[int], float] = field(default=float, compare=False)

    def __post_init__(self) -> None:
        assert list(self.widths) == sorted(set(self.widths)), self
        assert self.widths[0] > 0, self

    def alternatives(self) -> list[int]:
        """Return the widths."""
        return list(self.widths)

    def relaxed(self, context: Context) -> "MaskedChannels":
        """Build a mask of the channels."""
        return MaskedChannels(context.shared, self.label, self.widths)

    def derived(self, value: int) -> "Channels":
        """Build a module that changes nothing, with the chosen number of channels."""
        return Channels(value)

    def costs(self, channels: int | None = None) -> list[float]:
        """Return the cost of each width."""
        return [self.cost(width) for width in self.widths]


class MaskedChannels(nn.Module):
    """A width in the supernet: channels multiplied by the weight of the widths that have them.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the choice.
        widths: The widths, ascending.

    Attributes:
        channels: The largest width.
    """

    masks: Tensor

    def __init__(self, shared: SharedWeights, label: str, widths: Sequence[int]) -> None:
        super().__init__()
        self.shared, self.label, self.channels = shared, label, max(widths)
        index = torch.arange(self.channels)
        masks = torch.stack([(index < width).float() for width in widths])
        self.register_buffer("masks", masks, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, where C is at most the largest width."""
        return x * self.mask()[: x.shape[1]].to(x.dtype)

    def rest(self, x: Tensor) -> Tensor | None:
        """Return the channels of x, (B, C, H, W), within the width; None if it has none."""
        return x * (1 - self.mask()[: x.shape[1]]).to(x.dtype)

    def mask(self) -> Tensor:
        """Return the factors of the channels, (C, 1, 1)."""
        weights = self.shared.weights[self.label]
        return (weights @ self.masks.to(weights.dtype))[:, None, None]


class Channels(nn.Module):
    """A width of a derived network.

    Attributes:
        channels: The width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def rest(self, x: Tensor) -> Tensor | None:
        """Return None."""
        return None
