"""Plain networks of 3x3 convolutions on part of the channels: PlainUSR and its relatives.

Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024
(arXiv:2409.13435), after its released code.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval, MaxLen, MinLen
from torch import Tensor, nn

from srnas.choice import Builder
from srnas.errors import UserError, counted
from srnas.parts import Channels, OneOrEach
from srnas.primitives.attention import ATTENTIONS, FIRST_CHANNEL
from srnas.primitives.reparameterized import (
    REPARAMETERIZED,
    Reparameterized,
    merge_convolutions,
)
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.spaces.plain_weights import is_authors, read_options, rename

NEGATIVE_SLOPE = 0.05
RGB = 3
FOLD = 2  # side of the squares of pixels that `unshuffle` makes one pixel of

Convs = Annotated[int, Interval(ge=1, le=8)]
Attention = Literal["none", "lia", "gate", "span", "spanv2"]


@SPACES.register("plain")
class Plain(SuperResolutionSpace):
    """Blocks of 3x3 convolutions that each act on the first channels only (PlainUSR).

    The network: a convolution to the channels of the features and three that start as the image; a
    block for each of `widths`, which replaces as many of the first channels; a convolution of all
    channels, and pixel shuffle. At first the output is the nearest pixel of the image, plus what
    the random weights add.

    Nothing is open to search. `docs/spaces.md` has the options of the published networks.

    Args:
        scale: Scale factor.
        num_feat: Number of channels beside the image's; by default the largest width.
        widths: Number of channels that each block acts on; by default those of PlainUSR-S.
        convs: Number of convolutions of the blocks, or a list with that of each one.
        attention: Attention that ends the blocks, or a list with that of each one: "none"; "lia",
            local importance; "gate", by a convolution; "span", without parameters; "spanv2", by a
            1x1 convolution. See `srnas.primitives.attention`.
        attention_feat: Number of channels that "lia" pools.
        reparameterize: Form in which the convolutions of blocks are trained, see
            `srnas.primitives.reparameterized`. Model files have plain ones.
        unshuffle: Whether the first convolution makes one pixel of 2x2 (pixel unshuffle), so that
            features have a quarter of the pixels. The image then has twelve channels.
    """

    published: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Channels | None = None,
        widths: Annotated[list[Channels], MinLen(1), MaxLen(256)] = [32, 16, 8, 16, 32],  # noqa: B006
        convs: OneOrEach[Convs] = 2,
        attention: OneOrEach[Attention] = "lia",
        attention_feat: Channels = 4,
        reparameterize: Literal["none", "rep_mbconv", "ecb", "conv3xc"] = "none",
        unshuffle: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.widths, self.unshuffle = scale, list(widths), unshuffle
        num_feat = num_feat or max(widths)
        if max(widths) > num_feat:
            raise UserError(
                f"space plain: widths has {max(widths)}, but num_feat is {num_feat}; give the "
                "largest width or more"
            )
        fold = FOLD if unshuffle else 1
        self.channels = num_feat + RGB * fold**2
        self.head = _head(self.channels, fold)
        blocks = [
            Block(width, count, name, attention_feat, reparameterize)
            for width, count, name in zip(
                widths,
                _for_each(widths, convs, "convs"),
                _for_each(widths, attention, "attention"),
                strict=True,
            )
        ]
        self.blocks = nn.ModuleList(blocks)
        self.min_size = fold * (max(block.min_size for block in blocks) - 1) + 1
        self.upsample = _tail(self.channels, scale, fold)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        pieces = [(self.channels, self.head(x))]
        for width, block in zip(self.widths, self.blocks, strict=True):
            first, others = _take(pieces, width)
            pieces = [(width, block(first)), *others]
        y: Tensor = self.upsample(_concatenate([piece for _, piece in pieces]))
        if self.unshuffle:  # an odd side has been rounded up
            y = _crop(y, self.scale * x.shape[2], self.scale * x.shape[3])
        return y

    def merge(self) -> dict[str, Any]:
        """Make plain convolutions of those in a form for training; see `Space.merge`."""
        merge_convolutions(self)
        return {"reparameterize": "none"}

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the options of the network that a weight file belongs to.

        Attentions without parameters leave no trace. The authors' files have none of these; of
        others `attention` is not returned if a block has no parameters of one.
        """
        return read_options(cls.from_published(state), authors=is_authors(state))

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the authors' weight files; others are returned as they are."""
        return rename(state) if is_authors(state) else dict(state)

    def adapt_weights(
        self, state: Mapping[str, Tensor], made_with: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Let the forms for training adopt the plain convolutions of a state, exactly.

        Raises:
            UserError: A convolution has another number of channels.
        """
        adapted = dict(state)
        for name, module in self.named_modules():
            kernel, bias = (adapted.get(f"{name}.{key}") for key in ("weight", "bias"))
            if isinstance(module, Reparameterized) and kernel is not None and bias is not None:
                form = copy.deepcopy(module).cpu()
                channels = form.kernel_and_bias()[0].shape
                if kernel.shape != channels:
                    raise UserError(
                        f"{name}.weight is {tuple(kernel.shape)}, this network needs "
                        f"{tuple(channels)}; check the options of the space"
                    )
                form.adopt(adapted.pop(f"{name}.weight"), adapted.pop(f"{name}.bias"))
                adapted |= {f"{name}.{key}": tensor for key, tensor in form.state_dict().items()}
        return adapted


class Block(nn.Module):
    """3x3 convolutions with leaky ReLU between them, and an attention.

    Args:
        width: Channels of input and output.
        convs: Number of convolutions.
        attention: Name of the attention, or "none".
        attention_feat: Pooled channels of the attention.
        reparameterize: Form in which the convolutions are trained.
    """

    def __init__(
        self, width: int, convs: int, attention: str, attention_feat: int, reparameterize: str
    ) -> None:
        super().__init__()
        build = REPARAMETERIZED[reparameterize]
        mixes = [False] * (convs - 1) + [attention in FIRST_CHANNEL]
        self.convs = nn.ModuleList(build(width, mix) for mix in mixes)
        make = ATTENTIONS.get(attention)
        self.attention = make(width, attention_feat) if make else None
        self.min_size: int = getattr(self.attention, "min_size", 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, H, W) to the same shape."""
        y = self.convs[0](x)
        for conv in self.convs[1:]:
            y = conv(F.leaky_relu(y, NEGATIVE_SLOPE))
        return y if self.attention is None else self.attention(y, x)


@torch.no_grad()
def _head(channels: int, fold: int) -> nn.Module:
    """Build the first convolution, whose last channels are the image's pixels and its own values.

    A 3x3 convolution of squares of pixels is one of stride `fold`. Zeros are added so that a side
    that `fold` does not divide is rounded up.
    """
    conv = nn.Conv2d(RGB, channels, 3 * fold, stride=fold, padding=1 if fold == 1 else 0)
    for index, place in enumerate(_image_channels(channels, fold)):
        color, (row, column) = index // fold**2, divmod(index % fold**2, fold)
        conv.weight[place, color, fold + row, fold + column] += 1
    if fold == 1:
        return conv
    return nn.Sequential(nn.ZeroPad2d((fold, 2 * fold - 1, fold, 2 * fold - 1)), conv)


@torch.no_grad()
def _tail(channels: int, scale: int, fold: int) -> nn.Sequential:
    """Build the last convolution, which passes the image to its sub-pixels, and pixel shuffle."""
    side = scale * fold
    conv = nn.Conv2d(channels, RGB * side**2, 3, padding=1)
    squares = conv.weight.view(RGB, fold, scale, fold, scale, channels, 3, 3)
    for index, place in enumerate(_image_channels(channels, fold)):
        color, (row, column) = index // fold**2, divmod(index % fold**2, fold)
        squares[color, row, :, column, :, place, 1, 1] += 1
    return nn.Sequential(conv, nn.PixelShuffle(side))


def _image_channels(channels: int, fold: int) -> range:
    """Return the channels of the image, the last ones, in the order of pixel unshuffle."""
    return range(channels - RGB * fold**2, channels)


def _for_each(widths: Sequence[int], value: Any, option: str) -> list[Any]:
    """Return the value of an option for each block.

    Raises:
        UserError: It is a list of another length.
    """
    if not isinstance(value, list):
        return [value] * len(widths)
    if len(value) != len(widths):
        raise UserError(
            f"space plain: {option} has {counted(len(value), 'value')}, widths has {len(widths)}; "
            "give one for each block, or a single value for all"
        )
    return value


def _crop(y: Tensor, height: int, width: int) -> Tensor:
    """Return the first rows and columns of (B, C, H, W)."""
    if torch.compiler.is_exporting():  # which cannot prove that they are not more than y has
        return F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
    return y[:, :, :height, :width]


Piece = tuple[int, Tensor]
"""A number of channels, and features of as many."""


def _take(pieces: Sequence[Piece], width: int) -> tuple[Tensor, list[Piece]]:
    """Return the first channels of successive pieces, and the pieces of the others."""
    taken: list[Tensor] = []
    rest = list(pieces)
    while width > 0:
        count, piece = rest.pop(0)
        if count > width:
            piece, other = piece.split([width, count - width], dim=1)
            rest.insert(0, (count - width, other))
        taken.append(piece)
        width -= count
    return _concatenate(taken), rest


def _concatenate(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
