"""Plain networks of 3x3 convolutions on part of the channels: PlainUSR and its relatives.

Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024
(arXiv:2409.13435), after its released code.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval, MaxLen, MinLen
from torch import Tensor, nn

from srnas.choice import Builder, OpChoice, Place, Primitive
from srnas.choice.depth import Repeated
from srnas.choice.width import Channels as Stated
from srnas.components import Channels, OneOrEach
from srnas.diagram import Diagram
from srnas.errors import UserError, counted
from srnas.primitives.attention import AttentionPrimitive
from srnas.primitives.reparameterized import REPARAMETERIZED, Reparameterized, merge_convolutions
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

    Choices, as far as the options open them: block1/width, block1/convs and block1/attention, and
    those of the other blocks. `docs/spaces.md` has the options of the published networks.

    Args:
        scale: Scale factor.
        num_feat: Number of channels beside the image's; by default the largest width.
        widths: Number of channels that each block acts on; by default those of PlainUSR-S.
        convs: Number of convolutions of the blocks, or a list with that of each one.
        attention: Attention that ends the blocks, or a list with that of each one: "none"; "lia",
            local importance; "gate", by a convolution; "span", without parameters; "spanv2", by a
            1x1 convolution.
        attention_feat: Number of channels that "lia" pools.
        reparameterize: Form in which the convolutions of blocks are trained: "none", plain;
            "rep_mbconv" (PlainUSR), "ecb" (ECBSR), "conv3xc" (SPAN). Model files have plain ones.
        unshuffle: Whether the first convolution makes one pixel of 2x2 (pixel unshuffle), so that
            features have a quarter of the pixels. The image then has twelve channels.
        search_widths: Widths that are open to search for each block. `widths` are then those of the
            network without a genotype; the following likewise.
        search_convs: Numbers of convolutions that are open to search for each block.
        search_attention: Attentions that are open to search for each block.
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
        search_widths: Annotated[list[Channels], MinLen(1)] | None = None,
        search_convs: Annotated[list[Convs], MinLen(1)] | None = None,
        search_attention: Annotated[list[Attention], MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.unshuffle = scale, unshuffle
        largest = max([*widths, *(search_widths or ())])
        num_feat = num_feat or largest
        if largest > num_feat:
            raise UserError(
                f"space plain: widths has {largest}, but num_feat is {num_feat}; give the largest "
                "width or more"
            )
        fold = FOLD if unshuffle else 1
        self.channels = num_feat + RGB * fold**2
        self.head = _head(self.channels, fold)
        offered: dict[str, Primitive] = {
            name: AttentionPrimitive(name, attention_feat) for name in search_attention or ()
        }
        stated = zip(
            widths,
            _for_each(widths, convs, "convs"),
            _for_each(widths, attention, "attention"),
            strict=True,
        )
        blocks = []
        for number, (width, count, name) in enumerate(stated, 1):
            channels = _width(choose, number, width, search_widths)
            depth = _depth(choose, number, count, search_convs, channels.channels)
            if offered:
                place, wide = Place(f"block{number}", "attention"), channels.channels
                last = choose.add(OpChoice(place, offered, wide, wide, splits=False))
            else:
                last = AttentionPrimitive(name, attention_feat).build(channels.channels, 0)
            blocks.append(Block(channels, depth, last, reparameterize))
        self.blocks = nn.ModuleList(blocks)
        self.widths = [block.channels for block in blocks]
        self.min_size = fold * (max(block.min_size for block in blocks) - 1) + 1
        self.upsample = _tail(self.channels, scale, fold)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        pieces = [(self.channels, self.head(x))]
        for block, width in zip(self.blocks, self.widths, strict=True):
            first, others = _take(pieces, width)
            pieces = [(width, block(first)), *others]
        y: Tensor = self.upsample(_concatenate([piece for _, piece in pieces]))
        if self.unshuffle:  # an odd side has been rounded up
            y = _crop(y, self.scale * x.shape[2], self.scale * x.shape[3])
        return y

    @classmethod
    def published_choices(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the choices that the options state, where they are open."""
        widths = options["widths"]
        return {
            f"block{number}/{label}": value
            for label, value_of, search in (
                ("width", "widths", "search_widths"),
                ("convs", "convs", "search_convs"),
                ("attention", "attention", "search_attention"),
            )
            if options[search]
            for number, value in enumerate(_for_each(widths, options[value_of], value_of), 1)
        }

    @classmethod
    def opened(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Open fewer channels and fewer convolutions to each block."""
        largest = max(options["widths"])
        shares = (1, 2, 3, 4, 5, 6, 7)  # eighths
        widths = {max(1, largest * share // 8) for share in shares} | set(options["widths"])
        convs = options["convs"] if isinstance(options["convs"], list) else [options["convs"]]
        return {
            "search_widths": sorted(widths),
            "search_convs": list(range(1, max(convs) + 1)),
            "num_feat": options["num_feat"] or largest,
        }

    @classmethod
    def scope(cls, label: str) -> str:
        """Return the block."""
        group, _, _ = label.rpartition("/")
        return f"blocks.{int(group.removeprefix('block')) - 1}"

    def merge(self) -> dict[str, Any]:
        """Make plain convolutions of those in a form for training; see `Space.merge`."""
        merge_convolutions(self)
        return {"reparameterize": "none"}

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the blocks with their widths."""
        diagram = Diagram("The blocks, with the number of channels that each replaces")
        before = diagram.add(
            "head", "unshuffle, conv 3x3" if options["unshuffle"] else "conv 3x3", "end"
        )
        blocks = len(options["widths"])
        for index, width in enumerate(options["widths"]):
            convs, attention = (
                (value if isinstance(value, list) else [value] * blocks)[index]
                for value in (options["convs"], options["attention"])
            )
            found = [
                choices.get(f"block{index + 1}/{label}", stated)
                for label, stated in (("width", width), ("convs", convs), ("attention", attention))
            ]
            kind = "fixed" if found == [width, convs, attention] else "found"
            width, convs, attention = found
            ends = "" if attention == "none" else f", {attention}"
            text = f"{width}: {convs} conv 3x3{ends}"
            before = diagram.add(f"block{index}", text, kind, [before])
        before = diagram.add("tail", "conv 3x3", "fixed", [before])
        diagram.add("y", "pixel shuffle", "end", [before])
        return [diagram]

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
        width: Number of channels of input and output.
        depth: Number of convolutions.
        attention: Maps the output of the convolutions and the input to the output.
        reparameterize: Form in which the convolutions are trained.
    """

    def __init__(self, width: Any, depth: Any, attention: nn.Module, reparameterize: str) -> None:
        super().__init__()
        self.width, self.depth, self.attention = width, depth, attention
        self.channels: int = width.channels
        build, count = REPARAMETERIZED[reparameterize], int(depth.count)
        mixes = [False] * (count - 1) + [getattr(attention, "scales_by_first", False)]
        self.convs = nn.ModuleList(build(self.channels, mix) for mix in mixes)
        self.min_size: int = max(getattr(m, "min_size", 1) for m in attention.modules())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        before = self.width(x)
        rest: Tensor | None = self.width.rest(x)
        steps = [partial(self._step, number) for number in range(len(self.convs))]
        y = self.attention(self.depth(before, steps), before)
        return y if rest is None else y + rest

    def _step(self, number: int, x: Tensor) -> Tensor:
        active = x if number == 0 else F.leaky_relu(x, NEGATIVE_SLOPE)
        return self.width(self.convs[number](active))


def _width(choose: Builder, number: int, width: int, searched: list[int] | None) -> Any:
    if not searched:
        return Stated(width)
    widths = sorted(set(searched))
    return choose.width(Place(f"block{number}", "width"), widths, lambda w: 18.0 * w * w)


def _depth(
    choose: Builder, number: int, count: int, searched: list[int] | None, channels: int
) -> Any:
    if not searched:
        return Repeated(count)
    counts = sorted(set(searched))
    return choose.depth(
        Place(f"block{number}", "convs"), counts, lambda d: 9.0 * d * channels * channels
    )


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
    """Return the value of an option for each block; UserError if it is a list of another length."""
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
