"""Plain networks of 3x3 convolutions on part of the channels: PlainUSR and its relatives.

Wang, Li, Wang, Liu: PlainUSR: Chasing Faster ConvNet for Efficient Super-Resolution, ACCV 2024
(arXiv:2409.13435), after its released code.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval, MaxLen, MinLen
from torch import Tensor, nn

from srnas.choice import Builder
from srnas.errors import UserError
from srnas.parts import Channels
from srnas.primitives.attention import ATTENTIONS
from srnas.primitives.reparameterized import REPARAMETERIZED, merge_convolutions
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace

NEGATIVE_SLOPE = 0.05
RGB = 3
SMALL = (32, 16, 8, 16, 32)  # widths of PlainUSR-S

Convs = Annotated[int, Interval(ge=1, le=8)]
Attention = Literal["none", "lia", "gate"]


@SPACES.register("plain")
class Plain(SuperResolutionSpace):
    """Blocks of 3x3 convolutions that each act on the first channels only (PlainUSR).

    The network: a convolution to num_feat + 3 channels, whose last three start as the image; a
    block for each of `widths`, which replaces the first channels of the features; a convolution and
    pixel shuffle. As initialized, it nearly repeats the pixels of the image.

    Nothing is open to search. The options of the published networks are in `docs/spaces.md`.

    Args:
        scale: Scale factor.
        num_feat: Number of channels beside the image's; by default the largest width.
        widths: Number of channels that each block acts on; by default those of PlainUSR-S.
        convs: Number of convolutions of each block, or a list with that of each one.
        attention: Attention that ends a block, or a list with that of each one: "none"; "lia",
            local importance; "gate", by a convolution. See `srnas.primitives.attention`.
        attention_feat: Number of pooled channels of "lia".
        reparameterize: Form in which the convolutions of the blocks are trained, see
            `srnas.primitives.reparameterized`. Model files have plain convolutions.
    """

    published: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Channels | None = None,
        widths: Annotated[list[Channels], MinLen(1), MaxLen(256)] = list(SMALL),  # noqa: B006
        convs: Convs | Annotated[list[Convs], MinLen(1)] = 2,
        attention: Attention | Annotated[list[Attention], MinLen(1)] = "lia",
        attention_feat: Channels = 4,
        reparameterize: Literal["none", "rep_mbconv"] = "none",
    ) -> None:
        super().__init__()
        self.scale = scale
        self.num_feat = num_feat or max(widths)
        if max(widths) > self.num_feat:
            raise UserError(
                f"space plain: widths has {max(widths)}, but there are num_feat={self.num_feat} "
                "channels"
            )
        self.widths = list(widths)
        counts = _for_each(widths, convs, "convs")
        attentions = _for_each(widths, attention, "attention")
        self.head = nn.Conv2d(RGB, self.num_feat + RGB, 3, padding=1)
        blocks = [
            Block(width, count, name, attention_feat, reparameterize)
            for width, count, name in zip(widths, counts, attentions, strict=True)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.min_size = max(block.min_size for block in blocks)
        tail = nn.Conv2d(self.num_feat + RGB, RGB * scale**2, 3, padding=1)
        self.upsample = nn.Sequential(tail, nn.PixelShuffle(scale))
        with torch.no_grad():
            for color in range(RGB):
                channel = self.num_feat + color
                self.head.weight[channel, color, 1, 1] += 1
                tail.weight[color * scale**2 : (color + 1) * scale**2, channel, 1, 1] += 1

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        pieces = [(self.num_feat + RGB, self.head(x))]
        for width, block in zip(self.widths, self.blocks, strict=True):
            first, others = _take(pieces, width)
            pieces = [(width, block(first)), *others]
        return self.upsample(_concatenate([piece for _, piece in pieces]))

    def merge(self) -> dict[str, Any]:
        """Replace the re-parameterized convolutions by plain ones, in place."""
        merge_convolutions(self)
        return {"reparameterize": "none"}

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the options of the network that a weight file belongs to.

        An attention without parameters leaves no trace. Blocks without those of one have none in
        the authors' files; in others the option is left as it is.
        """
        ours = cls.from_published(state)
        found = [_BLOCK.match(key) for key in ours]
        blocks = 1 + max(int(key[1]) for key in found if key)
        names = [_attention_of(ours, f"blocks.{block}.attention.") for block in range(blocks)]
        squeezed = [len(ours[key]) for key in ours if key.endswith("attention.squeeze.bias")]
        options = {
            "scale": round((len(ours["upsample.0.bias"]) / RGB) ** 0.5),
            "num_feat": len(ours["head.bias"]) - RGB,
            "widths": [len(ours[f"blocks.{block}.convs.0.bias"]) for block in range(blocks)],
            "convs": [
                len({key[2] for key in found if key and int(key[1]) == block})
                for block in range(blocks)
            ],
        }
        if "none" not in names or "tail.0.bias" in state:
            options["attention"] = names
        return options | ({"attention_feat": squeezed[0]} if squeezed else {})

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the authors' weight files; others are returned as they are."""
        if "tail.0.bias" not in state:
            return dict(state)
        blocks = _published_blocks(state)
        return {_our_key(key, blocks, state): tensor for key, tensor in state.items()}


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
        mixes = [False] * (convs - 1) + [attention in ("lia", "gate")]  # these read channel 0
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


def _for_each(widths: Sequence[int], value: Any, option: str) -> list[Any]:
    """Return the value of an option for each block."""
    if not isinstance(value, list):
        return [value] * len(widths)
    if len(value) != len(widths):
        raise UserError(
            f"space plain: {option} has {len(value)} entries, widths has {len(widths)}; give one "
            "for each block, or one value for all"
        )
    return value


Piece = tuple[int, Tensor]
"""A number of channels, and successive features of as many."""


def _take(pieces: list[Piece], width: int) -> tuple[Tensor, list[Piece]]:
    """Return the first channels, and the pieces of the others."""
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


_BLOCK = re.compile(r"blocks\.(\d+)\.convs\.(\d+)\.")
_TRACES = {"squeeze.bias": "lia", "conv.bias": "gate"}  # parameters that tell the attentions
_PUBLISHED_IN_LIA = {"0": "squeeze", "2": "shrink", "3": "excite"}


def _attention_of(state: Mapping[str, Tensor], prefix: str) -> str:
    """Return the name of the attention with parameters of a prefix, "none" without any."""
    return next((name for key, name in _TRACES.items() if prefix + key in state), "none")


def _published_blocks(state: Mapping[str, Tensor]) -> list[str]:
    """Return the authors' names of the blocks in order: block1, ..., blockm, ..., block4."""
    names = {key.partition(".")[0] for key in state if key.startswith("block")}
    numbers = sorted(int(name.removeprefix("block")) for name in names - {"blockm"})
    middle = len(numbers) // 2
    return (
        [f"block{n}" for n in numbers[:middle]]
        + ["blockm"]
        + [f"block{n}" for n in numbers[middle:]]
    )


def _our_key(key: str, blocks: list[str], state: Mapping[str, Tensor]) -> str:
    first, _, inner = key.partition(".")
    if first == "tail":
        return f"upsample.{inner}"
    if first not in blocks:
        return key
    block = f"blocks.{blocks.index(first)}"
    layer, _, parameter = inner.removeprefix("body.").partition(".")
    if "." not in parameter:  # the even layers are convolutions, the odd ones leaky ReLU
        return f"{block}.convs.{int(layer) // 2}.{parameter}"
    _, number, parameter = parameter.split(".")  # body.3.body.2.weight
    pools = f"{first}.body.{layer}.body.2.weight" in state
    name = _PUBLISHED_IN_LIA.get(number, number) if pools else "conv"
    return f"{block}.attention.{name}.{parameter}"
