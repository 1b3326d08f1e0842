"""IMDN, and the search space around it.

Hui, Gao, Yang, Wang: Lightweight Image Super-Resolution with Information Multi-Distillation
Network, ACM MM 2019. The four convolutions of its block are open to search (SA-DARTS, with 12
candidates each); with conv_3x3 at all four it is IMDN itself.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import MinLen, MultipleOf
from torch import Tensor, nn

from srnas.choice import Builder, Candidates, Place
from srnas.choice.channels import ChannelSet, Slice
from srnas.choice.width import Channels as Stated
from srnas.components import Channels, Depth
from srnas.diagram import Diagram
from srnas.errors import UserError
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace, in_float32
from srnas.spaces.published import named_candidates, published_width

NEGATIVE_SLOPE = 0.05
EPS = 1e-10  # a standard deviation of 1e-5, which changes no published figure
QUARTERS = 4
CANDIDATES = (  # in the order of the logits
    "conv_3x3",
    "conv_3x3_bn",
    "conv_5x5",
    "conv_5x5_bn",
    "ds_conv_3x3",
    "ds_conv_3x3_bn",
    "ds_conv_5x5",
    "ds_conv_5x5_bn",
    "dil_ds_conv_3x3",
    "dil_ds_conv_3x3_bn",
    "dil_ds_conv_5x5",
    "dil_ds_conv_5x5_bn",
)


CONVS = ("c1", "c2", "c3", "c4")
OPENED = ("conv_3x3", "ds_conv_3x3")  # to a trained network


@SPACES.register("imdn")
class IMDN(SuperResolutionSpace):
    """Information multi-distillation blocks with searched convolutions (IMDN).

    The network: a convolution, `num_block` blocks, a 1x1 convolution of all their outputs, a
    convolution, the skip connection, and pixel shuffle.

    Choices: c1 to c4, each a candidate, shared by all blocks, and `rest` if `search_rest` opens it;
    with `per_block` those of each block, block1/c1 and so on. `feat` if `search_feat` opens it.

    Args:
        scale: Scale factor.
        num_feat: Number of channels, a multiple of 4.
        num_block: Number of blocks.
        candidates: Candidates at each position, names of `SR_PRIMITIVES`; by default the 12 of
            SA-DARTS.
        per_block: Whether each block has choices of its own.
        search_rest: Numbers of channels that are open to search, at most three quarters of
            `num_feat`: those that a convolution of a block passes on to the next one, beside the
            quarter that it distils.
        search_feat: Numbers of channels between the blocks that are open to search, at most
            `num_feat`.
    """

    published: ClassVar[Mapping[str, Any]] = dict.fromkeys(CONVS, "conv_3x3")

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Annotated[Channels, MultipleOf(4)] = 64,
        num_block: Depth = 6,
        candidates: Annotated[list[str], MinLen(1)] | None = None,
        per_block: bool = False,
        search_rest: Annotated[list[Channels], MinLen(1)] | None = None,
        search_feat: Annotated[list[Channels], MinLen(1)] | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        offered = named_candidates(SR_PRIMITIVES, candidates or CANDIDATES)
        rest = num_feat - num_feat // QUARTERS
        self.stream = _width(choose, Place.of("feat"), num_feat, search_feat, "search_feat")
        feat = self.stream.channels
        self.head = nn.Conv2d(3, feat, 3, padding=1)
        groups = [f"block{number}" if per_block else "" for number in range(1, num_block + 1)]
        passed = [
            _width(choose, Place(g, "rest"), rest, search_rest, "search_rest") for g in groups
        ]
        self.blocks = nn.ModuleList(
            IMDBlock(choose, self.stream, width, num_feat, offered, group)
            for width, group in zip(passed, groups, strict=True)
        )
        self.fuse = nn.Conv2d(feat * num_block, feat, 1)
        self.body_end = nn.Conv2d(feat, feat, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(feat, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        features = self.stream(in_float32(self.head, x))
        outputs, out = [], features
        for block in self.blocks:
            out = block(out)
            outputs.append(out)
        fused = F.leaky_relu(self.fuse(torch.cat(outputs, dim=1)), NEGATIVE_SLOPE)
        y = self.stream(self.body_end(self.stream(fused))) + features
        return in_float32(self.upsample, y)

    @classmethod
    def published_choices(cls, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return those of IMDN, with its widths where they are open."""
        if cls.published is None:
            return None
        feat = options.get("num_feat", 64)
        widths = {"rest": feat - feat // QUARTERS, "feat": feat}
        opens = {label: w for label, w in widths.items() if options.get(f"search_{label}")}
        return {**cls.published, **opens}

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the block, or each block if they have choices of their own."""
        count = options.get("num_block") or 6
        if all(label in choices for label in cls.published):
            title = f"The block of IMDN, one of {count}" if count > 1 else "The only block of IMDN"
            return [_draw_block(title, choices)]
        found = [
            {label.partition("/")[2]: c for label, c in choices.items() if label.startswith(group)}
            for group in (f"block{number}/" for number in range(1, count + 1))
        ]
        return [_draw_block(f"Block {number} of IMDN", one) for number, one in enumerate(found, 1)]

    @classmethod
    def opened(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Open cheaper convolutions and fewer channels in each block, and fewer between them."""
        feat = options["num_feat"]
        candidates = options["candidates"] or CANDIDATES
        return {
            "per_block": True,
            "candidates": [c for c in candidates if c in OPENED] or None,
            "search_rest": sorted({max(1, feat * share // 8) for share in (1, 2, 3, 4, 5, 6)}),
            "search_feat": sorted({feat * 3 // 4, feat}),
        }

    @classmethod
    def scope(cls, label: str) -> str | None:
        """Return the convolution, the block, or the network."""
        group, _, name = label.rpartition("/")
        if name == "feat":
            return ""
        block = f"blocks.{int(group.removeprefix('block')) - 1}"
        return block if name == "rest" else f"{block}.{name}"

    def channel_cuts(self, choices: Mapping[str, Any]) -> list[tuple[ChannelSet, int]]:
        """Return the channels between the blocks, and those that are passed on in them."""
        cuts = []
        if "feat" in choices:
            cuts += [(one, choices["feat"]) for one in self._stream_sets()]
        for number, block in enumerate(self.blocks):
            width = choices.get(f"block{number + 1}/rest", choices.get("rest"))
            if width is not None:
                assert isinstance(block, IMDBlock)
                cuts += [(one, width) for one in _rest_sets(f"blocks.{number}", block)]
        return cuts

    def _stream_sets(self) -> list[ChannelSet]:
        feat, blocks = self.stream.channels, [f"blocks.{n}" for n in range(len(self.blocks))]
        made = (Slice("head"), *(Slice(f"{block}.fuse") for block in blocks), Slice("body_end"))
        read = (
            *(Slice(f"{block}.c1") for block in blocks),
            *(Slice("fuse", number * feat) for number in range(len(blocks))),
            Slice("upsample.0"),
        )
        stream = ChannelSet(feat, made, read, linear=True)
        return [stream, ChannelSet(feat, (Slice("fuse"),), (Slice("body_end"),))]

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the width of the network that a weight file belongs to."""
        return published_width(state)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of the authors' weight files; unknown keys are kept."""
        return {_our_key(key): tensor for key, tensor in state.items()}


def _rest_sets(name: str, block: "IMDBlock") -> list[ChannelSet]:
    kept, rest = block.split
    return [
        ChannelSet(rest, (Slice(f"{name}.{conv}", kept),), (Slice(f"{name}.{after}"),))
        for conv, after in pairwise(CONVS)
    ]


class IMDBlock(nn.Module):
    """Information multi-distillation block.

    Each of three convolutions passes on all but the first quarter of its output channels. These
    quarters and the output of a fourth convolution are concatenated and go through contrast-aware
    attention and a 1x1 convolution; the input is added.

    Args:
        choose: The builder.
        stream: Channels of input and output.
        passed: Channels that are passed on.
        num_feat: The number of channels of four quarters.
        candidates: Candidates of the convolutions.
        group: Group of the choices.
    """

    def __init__(
        self,
        choose: Builder,
        stream: Any,
        passed: Any,
        num_feat: int,
        candidates: Candidates,
        group: str = "",
    ) -> None:
        super().__init__()
        self.stream, self.passed = stream, passed
        feat, kept, rest = stream.channels, num_feat // QUARTERS, passed.channels
        self.split = (kept, rest)
        self.c1 = choose.op(Place(group, "c1"), candidates, feat, kept + rest)
        self.c2 = choose.op(Place(group, "c2"), candidates, rest, kept + rest)
        self.c3 = choose.op(Place(group, "c3"), candidates, rest, kept + rest)
        self.c4 = choose.op(Place(group, "c4"), candidates, rest, kept)
        self.attention = ContrastAwareAttention(num_feat)
        self.fuse = nn.Conv2d(num_feat, feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, where C is the number of channels of the stream."""
        distilled, rest = [], x
        for conv in (self.c1, self.c2, self.c3):
            kept, rest = F.leaky_relu(conv(rest), NEGATIVE_SLOPE).split(self.split, dim=1)
            rest = self.passed(rest)
            distilled.append(kept)
        distilled.append(self.c4(rest))
        y = self.fuse(self.attention(torch.cat(distilled, dim=1)))
        return self.stream(y) + x


class ContrastAwareAttention(nn.Module):
    """Channel attention from the mean plus standard deviation of each channel (IMDN's CCA layer).

    The statistics are means, computed in float32; IMDN computes sums over the image, which overflow
    float16 above 65,504. `EPS` bounds the gradient of the square root on flat patches.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 1)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by their attention in [0, 1]."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = F.adaptive_avg_pool2d(wide, 1)
        variance = (wide - mean).square().mean(dim=(2, 3), keepdim=True)
        contrast = (torch.sqrt(variance + EPS) + mean).to(x.dtype)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(contrast))))


def _width(
    choose: Builder, place: Place, largest: int, searched: list[int] | None, option: str
) -> Any:
    if not searched:
        return Stated(largest)
    if max(searched) > largest:
        raise UserError(f"space imdn: {option} has {max(searched)}, the network {largest}")
    return choose.width(place, sorted(set(searched)))


def _draw_block(title: str, choices: Mapping[str, Any]) -> Diagram:
    diagram = Diagram(
        title + (f", {choices['rest']} channels passed on" if "rest" in choices else "")
    )
    diagram.add("x", "input", "end")
    before, kept = "x", []
    for label in ("c1", "c2", "c3"):
        diagram.add(label, f"{label}  {choices[label]}", "found", [before])
        before = diagram.add(f"{label} split", "split", "fixed", [label])
        kept.append(before)
    diagram.add("c4", f"c4  {choices['c4']}", "found", [before])
    diagram.add("concat", "concat", "fixed", [*kept, "c4"])
    diagram.add("attention", "attention", "fixed", ["concat"])
    diagram.add("fuse", "conv 1x1", "fixed", ["attention"])
    diagram.add("sum", "+", "sum", ["fuse", "x"])
    diagram.add("y", "output", "end", ["sum"])
    return diagram


_PUBLISHED = {"fea_conv": "head", "c.0": "fuse", "LR_conv": "body_end", "upsampler.0": "upsample.0"}
_PUBLISHED_IN_BLOCK = {
    "c5": "fuse",
    "cca.conv_du.0": "attention.squeeze",
    "cca.conv_du.2": "attention.excite",
}


def _our_key(key: str) -> str:
    layer, _, parameter = key.removeprefix("module.").rpartition(".")
    block, _, inner = layer.partition(".")
    if block.startswith("IMDB") and block.removeprefix("IMDB").isdigit():
        number = int(block.removeprefix("IMDB")) - 1
        return f"blocks.{number}.{_PUBLISHED_IN_BLOCK.get(inner, inner)}.{parameter}"
    return f"{_PUBLISHED.get(layer, layer)}.{parameter}"
