"""DLSR: searched residual convolutions, and searched links between cells.

Huang, Shen, He, Dong, Liu: Lightweight Image Super-Resolution with Hierarchical and Differentiable
Neural Architecture Search, 2021 (arXiv:2105.03939), after its released code.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, MinLen
from torch import Tensor, nn

from srnas.choice import Builder, Candidates, Place
from srnas.components import Channels, Depth
from srnas.diagram import Diagram
from srnas.primitives.dlsr import DLSR_PRIMITIVES
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.imdn import CANDIDATES as IMDN_CANDIDATES
from srnas.spaces.kinds import SuperResolutionSpace, in_float32
from srnas.spaces.published import is_published, named_candidates, published_width

NEGATIVE_SLOPE = 0.05
PUBLISHED_RANGE = 255.0  # RGB range of the authors' networks
CANDIDATES = (  # in the order of the logits
    "conv_1x1",
    "conv_3x3",
    "conv_5x5",
    "conv_7x7",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
FAMILIES: dict[str, tuple[Candidates, tuple[str, ...]]] = {
    "dlsr": (DLSR_PRIMITIVES, CANDIDATES),
    "imdn": (SR_PRIMITIVES, IMDN_CANDIDATES),
}


@SPACES.register("dlsr")
class DLSR(SuperResolutionSpace):
    """Residual distillation cells with searched convolutions and links (DLSR).

    The network: a convolution, `num_cell` cells, a 1x1 convolution of all their outputs, a
    convolution, the skip connection, and pixel shuffle. The second cell follows the first; each
    later one takes two searched earlier cells. The sides of an input must be at least 15.

    Choices: r1, r2 and r3, the residual convolutions, shared by all cells; with `per_cell` those of
    each cell, cell1/r1 and so on. link3, link4, ..., each
    the numbers of two earlier cells, counted from 1, in the order of concatenation.

    Args:
        scale: Scale factor.
        num_feat: Number of channels, at least 4.
        num_cell: Number of cells.
        primitives: Family of candidates, "dlsr" with nine or "imdn" with twelve.
        candidates: Candidates at each position; by default the whole family.
        rgb_range: Range in which the network computes: the input, RGB in [0, 1], is multiplied by
            it, and the output divided. The authors' networks compute in 0-255, which differs from
            0-1 in all that depends on the size of values: biases as initialized, the attention's
            sigmoid, the gradient's norm. A run's loss is multiplied by it as well.
        per_cell: Whether each cell has residual convolutions of its own.
    """

    published: ClassVar[Mapping[str, Any]] = {
        "r1": "conv_1x1",
        "r2": "sep_conv_7x7",
        "r3": "sep_conv_5x5",
        "link3": [1, 2],
        "link4": [2, 3],
        "link5": [2, 4],
        "link6": [4, 5],
    }
    min_size = 15  # the attention uses a strided convolution and unpadded pooling

    def __init__(
        self,
        choose: Builder,
        *,
        scale: Literal[2, 3, 4] = 2,
        num_feat: Annotated[Channels, Ge(4)] = 48,
        num_cell: Annotated[Depth, Ge(2)] = 6,
        primitives: Literal["dlsr", "imdn"] = "dlsr",
        candidates: Annotated[list[str], MinLen(1)] | None = None,
        rgb_range: Annotated[float, Gt(0)] = 1.0,
        per_cell: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.rgb_range = scale, rgb_range
        family, everything = FAMILIES[primitives]
        offered = named_candidates(family, candidates or everything)
        self.head = nn.Conv2d(3, num_feat, 3, padding=1)
        groups = [f"cell{number}" if per_cell else "" for number in range(1, num_cell + 1)]
        self.cells = nn.ModuleList(Cell(choose, num_feat, offered, group) for group in groups)
        self.links = nn.ModuleList(
            Link(choose, f"link{number}", number - 1, num_feat) for number in range(3, num_cell + 1)
        )
        self.fuse = nn.Conv2d(num_feat * num_cell, num_feat, 1)
        self.body_end = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(num_feat, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map LR (B, 3, H, W) to SR (B, 3, scale*H, scale*W), RGB in [0, 1], not clipped."""
        features = in_float32(self.head, x if self.rgb_range == 1 else x * self.rgb_range)
        outputs = [self.cells[0](features)]
        outputs.append(self.cells[1](outputs[0]))
        for link, cell in zip(self.links, self.cells[2:], strict=True):
            outputs.append(cell(link(outputs)))
        fused = _leaky(self.fuse(torch.cat(outputs, dim=1)))
        y = in_float32(self.upsample, self.body_end(fused) + features)
        return y if self.rgb_range == 1 else y / self.rgb_range

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the cells with the links between them, and the cell, or each of them."""
        network = Diagram("The cells of DLSR and the links between them")
        network.add("head", "conv 3x3", "end")
        network.add("1", "cell 1", "fixed", ["head"])
        network.add("2", "cell 2", "fixed", ["1"])
        links = {key: value for key, value in choices.items() if key.startswith("link")}
        for label, inputs in links.items():
            cell_number = label.removeprefix("link")
            network.add(cell_number, f"cell {cell_number}", "found", [str(one) for one in inputs])
        cells = [name for name in network.nodes if name != "head"]
        network.add("fuse", "concat, conv 1x1, conv 3x3", "fixed", cells)
        network.add("sum", "+", "sum", ["fuse", "head"])
        network.add("y", "pixel shuffle", "end", ["sum"])
        if "r1" in choices:
            return [network, _draw_cell("The cell of DLSR", "", choices)]
        groups = dict.fromkeys(label.partition("/")[0] for label in choices if "/" in label)
        titles = {group: f"Cell {group.removeprefix('cell')} of DLSR" for group in groups}
        return [network, *(_draw_cell(titles[group], f"{group}/", choices) for group in groups)]

    @classmethod
    def opened(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Open the residual convolutions of each cell."""
        return {"per_cell": True}

    @classmethod
    def scope(cls, label: str) -> str | None:
        """Return the residual convolution; links stay."""
        group, _, name = label.rpartition("/")
        return f"cells.{int(group.removeprefix('cell')) - 1}.{name}" if group else None

    @classmethod
    def published_options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return width and RGB range of the network that a weight file belongs to."""
        authors = {"rgb_range": PUBLISHED_RANGE} if is_published(state) else {}
        return published_width(state) | authors

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the tensors of the authors' weight files; others are returned as they are."""
        if not is_published(state):
            return dict(state)
        return {_our_key(key): tensor for key, tensor in state.items()}

    def adapt_weights(
        self, state: Mapping[str, Tensor], made_with: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Convert weights to this network's RGB range: the same function from RGB in [0, 1]."""
        ratio = made_with.get("rgb_range", self.rgb_range) / self.rgb_range
        factors = {
            "head.weight": ratio,
            "upsample.0.weight": 1 / ratio,
            "upsample.0.bias": 1 / ratio,
        }
        return {
            key: tensor * factors[key] if key in factors and ratio != 1 else tensor
            for key, tensor in state.items()
        }


class Cell(nn.Module):
    """Three residual convolutions, each parallel to a 1x1 that distils half the channels."""

    def __init__(
        self, choose: Builder, num_feat: int, candidates: Candidates, group: str = ""
    ) -> None:
        super().__init__()
        half = num_feat // 2
        self.d1, self.d2, self.d3 = (nn.Conv2d(num_feat, half, 1) for _ in range(3))
        self.r1, self.r2, self.r3 = (
            choose.op(Place(group, label), candidates, num_feat, num_feat)
            for label in ("r1", "r2", "r3")
        )
        self.d4 = nn.Conv2d(num_feat, half, 3, padding=1)
        self.fuse = nn.Conv2d(4 * half, num_feat, 1)
        self.attention = SpatialAttention(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, num_feat, H, W) to the same shape."""
        distilled = []
        for distil, op in ((self.d1, self.r1), (self.d2, self.r2), (self.d3, self.r3)):
            distilled.append(_leaky(distil(x)))
            x = _leaky(op(x) + x)
        distilled.append(_leaky(self.d4(x)))
        return self.attention(self.fuse(torch.cat(distilled, dim=1)))


def _draw_cell(title: str, group: str, choices: Mapping[str, Any]) -> Diagram:
    cell = Diagram(title)
    cell.add("x", "input", "end")
    before, distilled = "x", []
    for number in (1, 2, 3):
        distilled.append(cell.add(f"d{number}", "conv 1x1", "fixed", [before]))
        label = f"r{number}"
        cell.add(label, f"{label}  {choices[group + label]}", "found", [before])
        before = cell.add(f"sum{number}", "+", "sum", [label, before])
    distilled.append(cell.add("d4", "conv 3x3", "fixed", [before]))
    cell.add("concat", "concat", "fixed", distilled)
    cell.add("fuse", "conv 1x1, attention", "fixed", ["concat"])
    cell.add("y", "output", "end", ["fuse"])
    return cell


class Link(nn.Module):
    """The input of a cell: weighted or chosen outputs of earlier cells, fused by a 1x1."""

    def __init__(self, choose: Builder, label: str, count: int, num_feat: int) -> None:
        super().__init__()
        self.inputs = choose.inputs(label, count, keep=2)
        self.fuse = nn.Conv2d(num_feat * len(self.inputs), num_feat, 1)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """Map the outputs of all earlier cells, (B, num_feat, H, W) each, to the same shape."""
        return _leaky(self.fuse(torch.cat(self.inputs(outputs), dim=1)))


class SpatialAttention(nn.Module):
    """Enhanced spatial attention (RFANet, CVPR 2020), computed on a quarter of the channels."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        hidden = num_feat // 4
        self.squeeze = nn.Conv2d(num_feat, hidden, 1)
        self.skip = nn.Conv2d(hidden, hidden, 1)
        self.shrink = nn.Conv2d(hidden, hidden, 3, stride=2)
        self.body = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(3))
        self.excite = nn.Conv2d(hidden, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each value of (B, num_feat, H, W) by its attention in [0, 1]."""
        squeezed = self.squeeze(x)
        y = F.max_pool2d(self.shrink(squeezed), kernel_size=7, stride=3)
        y = self.body[2](F.relu(self.body[1](F.relu(self.body[0](y)))))
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.excite(y + self.skip(squeezed)))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, NEGATIVE_SLOPE)


_PUBLISHED = {
    "fea_conv": "head",
    "cout.0": "fuse",
    "LR_conv": "body_end",
    "upsampler.0": "upsample.0",
}
_PUBLISHED_IN_CELL = {
    "c1_d": "d1",
    "c2_d": "d2",
    "c3_d": "d3",
    "c4": "d4",
    "c5": "fuse",
    "esa.conv1": "attention.squeeze",
    "esa.conv_f": "attention.skip",
    "esa.conv2": "attention.shrink",
    "esa.conv_max": "attention.body.0",
    "esa.conv3": "attention.body.1",
    "esa.conv3_": "attention.body.2",
    "esa.conv4": "attention.excite",
}


def _our_key(key: str) -> str:
    layer, _, parameter = key.removeprefix("module.").rpartition(".")
    if layer in _PUBLISHED:
        return f"{_PUBLISHED[layer]}.{parameter}"
    first, _, inner = layer.partition(".")
    if first[:1] == "c" and first[1:].isdigit():  # c3.0: the link to cell 3
        return f"links.{int(first[1:]) - 3}.fuse.{parameter}"
    if first[:1] == "B" and first[1:].isdigit():
        if "_r.op" in inner:  # c2_r.op.4: layer 4 of r2; a bare convolution is layer 0
            place, _, layer_number = inner.partition("_r.op.")
            inner = f"r{place[1:]}" + (f".{layer_number}" if layer_number != "0" else "")
        else:
            inner = _PUBLISHED_IN_CELL.get(inner, inner)
        return f"cells.{int(first[1:]) - 1}.{inner}.{parameter}"
    return f"{layer}.{parameter}"
