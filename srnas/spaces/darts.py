"""The DARTS search space: a stack of normal and reduction cells, for CIFAR and ImageNet.

Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019, after its released code.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval, MultipleOf
from torch import Tensor, nn

from srnas.choice import Builder, Candidates, Choices, Place, run_nodes
from srnas.components import Channels, Classes, Depth
from srnas.diagram import Diagram
from srnas.errors import UserError
from srnas.primitives.batchnorm import BatchNorm2d
from srnas.primitives.darts import FactorizedReduce, relu_conv_bn
from srnas.spaces import SPACES
from srnas.spaces.cells import draw_cells
from srnas.spaces.darts_sets import NODES, edge_candidates
from srnas.spaces.kinds import ClassificationSpace

CELLS = ("normal", "reduce")
KEPT = 2  # edges per node of a derived network


@SPACES.register("darts")
class DARTS(ClassificationSpace):
    """A stack of normal and reduction cells (DARTS).

    The network: a stem, `num_cell` cells that each take the outputs of the previous two, global
    average pooling, and a linear classifier. The cells at one and two thirds of the depth are
    reduction cells, which halve the sides and double the channels. The sides of an input must be
    multiples of 4, or of 32 with the ImageNet stem. In training mode, a network with `auxiliary`
    returns (logits, logits of the auxiliary head).

    Choices: normal and reduce, each with the [candidate, input] pairs of the four nodes, strongest
    first. Inputs 0 and 1 are the previous two cells, 2 to 4 the nodes.

    Args:
        num_classes: Number of classes (CIFAR-10: 10).
        num_feat: Number of channels, even: 16 for search, 36 for DARTS' evaluation on CIFAR, 48 on
            ImageNet.
        num_cell: Number of cells: 8 for search, 20 for the evaluation on CIFAR, 14 on ImageNet.
        stem: "cifar", a single convolution, or "imagenet", three convolutions of stride 2.
        stem_multiplier: Channels of the stem, as a multiple of `num_feat`; by default 3 for "cifar"
            and 1 for "imagenet", as in DARTS' evaluations. PC-DARTS' search on ImageNet has 3.
        auxiliary: Whether to add the auxiliary head, a second classifier at two thirds of the
            depth, for images of 32x32 (with the ImageNet stem, 224x224).
        space_set: The candidate operations: "full", the eight of DARTS; "s1" to "s4", the reduced
            sets of RobustDARTS; "s5", the seven other than "none"; "three", those of the loss
            landscapes in DARTS-.
    """

    drops_paths: ClassVar[bool] = True
    published: ClassVar[Mapping[str, Any]] = {  # DARTS_V2, found by the second-order search
        "normal": [
            [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
            [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
            [["sep_conv_3x3", 1], ["skip_connect", 0]],
            [["skip_connect", 0], ["dil_conv_3x3", 2]],
        ],
        "reduce": [
            [["max_pool_3x3", 0], ["max_pool_3x3", 1]],
            [["skip_connect", 2], ["max_pool_3x3", 1]],
            [["max_pool_3x3", 0], ["skip_connect", 2]],
            [["skip_connect", 2], ["max_pool_3x3", 1]],
        ],
    }

    def __init__(
        self,
        choose: Builder,
        *,
        num_classes: Classes = 10,
        num_feat: Annotated[Channels, MultipleOf(2)] = 16,
        num_cell: Annotated[Depth, Ge(3)] = 8,
        stem: Literal["cifar", "imagenet"] = "cifar",
        stem_multiplier: Annotated[int, Interval(ge=1, le=16)] | None = None,
        auxiliary: bool = False,
        space_set: Literal["full", "s1", "s2", "s3", "s4", "s5", "three"] = "full",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        imagenet = stem == "imagenet"
        self.multiple = 32 if imagenet else 4
        width = num_feat * (stem_multiplier or (1 if imagenet else 3))
        self.stem0, self.stem1 = _imagenet_stem(width) if imagenet else _cifar_stem(width)
        tables = {cell: edge_candidates(space_set, cell) for cell in CELLS}
        reductions = (num_cell // 3, 2 * num_cell // 3)
        self.auxiliary_after = reductions[1]
        before = last = width
        channels, halved = num_feat, imagenet
        self.cells = nn.ModuleList()
        self.auxiliary = None
        for index in range(num_cell):
            kind = "reduce" if index in reductions else "normal"
            channels *= 2 if kind == "reduce" else 1
            self.cells.append(Cell(choose, kind, tables[kind], before, last, channels, halved))
            before, last, halved = last, channels * len(NODES), kind == "reduce"
            if auxiliary and index == self.auxiliary_after:
                self.auxiliary = _auxiliary_head(last, num_classes, imagenet)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) to logits (B, num_classes).

        Raises:
            UserError: A side is not a multiple of 4 (of 32 with the ImageNet stem).
        """
        if any(side % self.multiple for side in x.shape[2:]):
            raise UserError(
                f"images of {x.shape[3]}x{x.shape[2]}: space darts needs sides that are multiples "
                f"of {self.multiple} with this stem"
            )
        before = self.stem0(x)
        last = self.stem1(before)
        second = None
        for index, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if self.auxiliary and self.training and index == self.auxiliary_after:
                second = self.auxiliary(last)
        logits = self.classifier(F.adaptive_avg_pool2d(last, 1).flatten(1))
        return logits if second is None else (logits, second)

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the cells."""
        return draw_cells(cls.read_choices(choices))

    @classmethod
    def read_choices(cls, choices: Mapping[str, Any]) -> Choices:
        """Return the edges of the nodes of both cells."""
        others = dict(choices)
        edges: Choices = {}
        for cell in CELLS:
            nodes = others.pop(cell, None)
            if not isinstance(nodes, list) or len(nodes) != len(NODES):
                raise UserError(
                    f"genotype: choices.{cell} is missing, or not a list of {len(NODES)} nodes"
                )
            edges |= {
                Place(cell, str(node)): pairs for node, pairs in zip(NODES, nodes, strict=True)
            }
        return super().read_choices(others) | edges

    @classmethod
    def write_choices(cls, choices: Choices) -> dict[str, Any]:
        """Return the pairs of the four nodes of each cell."""
        return {cell: [choices[Place(cell, str(node))] for node in NODES] for cell in CELLS}


class Cell(nn.Module):
    """Four nodes, each the sum over searched edges from both inputs and the earlier nodes.

    The output concatenates the four nodes.

    Args:
        kind: "normal" or "reduce".
        tables: Candidates of the edges by node, then by input.
        before, last: Channels of the first and second input, the outputs of the cell before last
            and of the last cell.
        channels: Channels of each node.
        halved: Whether the last cell (or the stem) halved the sides, so that the first input has to
            be halved as well.
    """

    def __init__(
        self,
        choose: Builder,
        kind: str,
        tables: Mapping[int, list[Candidates]],
        before: int,
        last: int,
        channels: int,
        halved: bool,
    ) -> None:
        super().__init__()
        self.preprocess0 = (
            FactorizedReduce(before, channels, choose.affine)
            if halved
            else relu_conv_bn(before, channels, 1, affine=choose.affine)
        )
        self.preprocess1 = relu_conv_bn(last, channels, 1, affine=choose.affine)
        stride = 2 if kind == "reduce" else 1
        self.nodes = nn.ModuleList(
            choose.edges(
                Place(kind, str(node)),
                node,
                KEPT,
                tables[node],
                channels,
                [stride, stride, *(1 for _ in range(2, node))],
            )
            for node in NODES
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        """Map the outputs of the previous two cells, (B, C, H, W) each, to that of this cell."""
        inputs = [self.preprocess0(before), self.preprocess1(last)]
        return torch.cat(run_nodes(self.nodes, inputs), dim=1)


def _conv_bn(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [conv, BatchNorm2d(out_channels)]


def _cifar_stem(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.Sequential(*_conv_bn(3, width, 1)), nn.Identity()


def _imagenet_stem(width: int) -> tuple[nn.Module, nn.Module]:
    half = width // 2
    first = nn.Sequential(*_conv_bn(3, half, 2), nn.ReLU(), *_conv_bn(half, width, 2))
    return first, nn.Sequential(nn.ReLU(), *_conv_bn(width, width, 2))


def _auxiliary_head(channels: int, num_classes: int, imagenet: bool) -> nn.Module:
    """Build the head for 8x8 (CIFAR) or 7x7 pixels (ImageNet, without its last BatchNorm)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=2 if imagenet else 3),
        nn.Conv2d(channels, 128, 1, bias=False),
        BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        nn.Identity() if imagenet else BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )
