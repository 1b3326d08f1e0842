"""IMDN, and the search space around it.

Hui, Gao, Yang, Wang: Lightweight Image Super-Resolution with Information Multi-Distillation
Network, ACM MM 2019. The four convolutions of its block are open to search (SA-DARTS, with 12
candidates each); with conv_3x3 at all four it is IMDN itself.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import MinLen, MultipleOf
from torch import Tensor, nn

from srnas.choice import Builder, Candidates, Place
from srnas.components import Channels, Depth
from srnas.diagram import Diagram
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.spaces.published import named_candidates, published_width

NEGATIVE_SLOPE = 0.05
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


@SPACES.register("imdn")
class IMDN(SuperResolutionSpace):
    """Information multi-distillation blocks with searched convolutions (IMDN).

    The network: a convolution, `num_block` blocks, a 1x1 convolution of all their outputs, a
    convolution, the skip connection, and pixel shuffle.

    Choices: c1 to c4, each a candidate, shared by all blocks; with `per_block` those of each block,
    block1/c1 and so on.

    Args:
        scale: Scale factor.
        num_feat: Number of channels, a multiple of 4.
        num_block: Number of blocks.
        candidates: Candidates at each position, names of `SR_PRIMITIVES`; by default the 12 of
            SA-DARTS.
        per_block: Whether each block has choices of its own.
    """

    published: ClassVar[Mapping[str, Any]] = dict.fromkeys(("c1", "c2", "c3", "c4"), "conv_3x3")

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Annotated[Channels, MultipleOf(4)] = 64,
        num_block: Depth = 6,
        candidates: Annotated[list[str], MinLen(1)] | None = None,
        per_block: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        table = named_candidates(SR_PRIMITIVES, candidates or CANDIDATES)
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        groups = [f"block{number}" if per_block else "" for number in range(1, num_block + 1)]
        self.blocks = nn.ModuleList(IMDBlock(choose, num_feat, table, group) for group in groups)
        self.fuse = nn.Conv2d(num_feat * num_block, num_feat, 1)
        self.body_end = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(num_feat, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        features = self.head(x)
        outputs, out = [], features
        for block in self.blocks:
            out = block(out)
            outputs.append(out)
        fused = F.leaky_relu(self.fuse(torch.cat(outputs, dim=1)), NEGATIVE_SLOPE)
        return self.upsample(self.body_end(fused) + features)

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the block, or each block if they have choices of their own."""
        count = options.get("num_block") or 6
        if all(label in choices for label in cls.published):
            title = f"The block of IMDN, one of {count}" if count > 1 else "The only block of IMDN"
            return [_draw_block(title, choices)]
        return [
            _draw_block(
                f"Block {number} of IMDN",
                {label: choices[f"block{number}/{label}"] for label in cls.published},
            )
            for number in range(1, count + 1)
        ]

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the width of the network that a weight file belongs to."""
        return published_width(state)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of the authors' weight files; unknown keys are kept."""
        return {_our_key(key): tensor for key, tensor in state.items()}


class IMDBlock(nn.Module):
    """Information multi-distillation block.

    Each of three convolutions passes on all but the first quarter of its output channels. These
    quarters and the output of a fourth convolution are concatenated and go through contrast-aware
    attention and a 1x1 convolution; the input is added.
    """

    def __init__(
        self, choose: Builder, num_feat: int, candidates: Candidates, group: str = ""
    ) -> None:
        super().__init__()
        kept = num_feat // 4
        rest = num_feat - kept
        self.split = (kept, rest)
        self.c1 = choose.op(Place(group, "c1"), candidates, num_feat, num_feat)
        self.c2 = choose.op(Place(group, "c2"), candidates, rest, num_feat)
        self.c3 = choose.op(Place(group, "c3"), candidates, rest, num_feat)
        self.c4 = choose.op(Place(group, "c4"), candidates, rest, kept)
        self.attention = ContrastAwareAttention(4 * kept)
        self.fuse = nn.Conv2d(4 * kept, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, num_feat, H, W) to the same shape."""
        distilled, rest = [], x
        for conv in (self.c1, self.c2, self.c3):
            kept, rest = F.leaky_relu(conv(rest), NEGATIVE_SLOPE).split(self.split, dim=1)
            distilled.append(kept)
        distilled.append(self.c4(rest))
        return self.fuse(self.attention(torch.cat(distilled, dim=1))) + x


class ContrastAwareAttention(nn.Module):
    """Channel attention from the mean plus standard deviation of each channel (IMDN's CCA layer).

    The statistics are means, computed in float32; IMDN computes sums over the image, which overflow
    float16 above 65,504. `eps` bounds the gradient of the square root on flat patches. A value of
    1e-10 (a standard deviation of 1e-5) changes no published figure.
    """

    def __init__(self, channels: int, reduction: int = 16, eps: float = 1e-10) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) by their attention in [0, 1]."""
        wide = x.float()
        mean = F.adaptive_avg_pool2d(wide, 1)
        variance = (wide - mean).square().mean(dim=(2, 3), keepdim=True)
        contrast = (torch.sqrt(variance + self.eps) + mean).to(x.dtype)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(contrast))))


def _draw_block(title: str, choices: Mapping[str, Any]) -> Diagram:
    diagram = Diagram(title)
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


_PUBLISHED = {
    "fea_conv": "head",
    "c.0": "fuse",
    "LR_conv": "body_end",
    "upsampler.0": "upsample.0",
}
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
