"""NAS-Bench-201: a cell of four nodes and six edges with five candidates each; 15,625 networks.

Dong, Yang: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR
2020, after its released code.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice import Builder, Choices, Genotype, Place, ScoreTable, run_nodes
from srnas.components import Channels, Classes, Depth
from srnas.diagram import Diagram
from srnas.errors import UserError, did_you_mean, short
from srnas.primitives.batchnorm import BatchNorm2d
from srnas.primitives.darts import relu_conv_bn
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.cells import draw_cells
from srnas.spaces.kinds import ClassificationSpace
from srnas.spaces.published import named_candidates

CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = (1, 2, 3)  # each sums its edges from all nodes before it; 0 is the input
STAGES = 3


@SPACES.register("nasbench201")
class NASBench201(ClassificationSpace):
    """Stages of densely connected cells with six searched edges (NAS-Bench-201).

    The network: a convolution, three stages of cells, BatchNorm and ReLU, global average pooling,
    and a linear classifier. The stages have 1, 2 and 4 times `num_feat` channels; a residual block
    of stride 2 comes before the second and the third.

    Choices: cell, in the notation of the benchmark, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Args:
        num_classes: Number of classes (CIFAR-10: 10).
        num_feat: Number of channels of the first stage.
        num_cell: Number of cells per stage.
    """

    # The cell that SA, Beta decay, DrNAS and Single-DARTS all report.
    published: ClassVar[Mapping[str, Any]] = {
        "cell": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
        "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    }

    def __init__(
        self,
        choose: Builder,
        *,
        num_classes: Classes = 10,
        num_feat: Channels = 16,
        num_cell: Depth = 5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = [num_feat * 2**stage for stage in range(STAGES)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, num_feat, 3, padding=1, bias=False), BatchNorm2d(num_feat)
        )
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage:
                layers.append(ResidualBlock(widths[stage - 1], width))
            layers += [Cell(choose, width) for _ in range(num_cell)]
        self.body = nn.Sequential(*layers)
        self.norm = BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        features = F.relu(self.norm(self.body(self.stem(x))))
        return self.classifier(F.adaptive_avg_pool2d(features, 1).flatten(1))

    @classmethod
    def draw(cls, options: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
        """Draw the cells."""
        return draw_cells(cls.read_choices(choices))

    @classmethod
    def read_choices(cls, choices: Mapping[str, Any]) -> Choices:
        """Return the edges of the cell's three nodes."""
        others = dict(choices)
        cell = others.pop("cell", None)
        if not isinstance(cell, str):
            raise UserError("genotype: choices.cell is missing, or not a string as |op~0|+...")
        nodes = zip(NODES, read_arch(cell), strict=True)
        return super().read_choices(others) | {_node(number): edges for number, edges in nodes}

    @classmethod
    def write_choices(cls, choices: Choices) -> dict[str, Any]:
        """Return the cell in the notation of the benchmark."""
        return {"cell": write_arch([choices[_node(number)] for number in NODES])}

    table_prefix: ClassVar[str] = "nb201"

    @classmethod
    def open_table(cls, file: Path) -> ScoreTable:
        """Open the benchmark: test accuracies in percent after 200 epochs, by data set."""
        from srnas.spaces.nasbench201_table import load_table, look_up

        table = load_table(file)

        def score(genotype: Genotype) -> dict[str, float]:
            return look_up(table, genotype.choices["cell"], file)

        return score


def _node(number: int) -> Place:
    return Place("cell", str(number))


class Cell(nn.Module):
    """The searched graph, from node 0 (the input) to node 3 (the output)."""

    def __init__(self, choose: Builder, channels: int) -> None:
        super().__init__()
        candidates = named_candidates(NB201_PRIMITIVES, CANDIDATES)
        self.nodes = nn.ModuleList(
            choose.edges(_node(number), number, None, candidates, channels, [1] * number)
            for number in NODES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return run_nodes(self.nodes, [x])[-1]


class ResidualBlock(nn.Module):
    """A residual block that halves the sides; it is not searched.

    The output of two 3x3 convolutions, the first with stride 2, is added to a shortcut of average
    pooling and a 1x1 convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            relu_conv_bn(in_channels, out_channels, 3, stride=2),
            relu_conv_bn(out_channels, out_channels, 3),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H/2, W/2)."""
        return self.convs(x) + self.shortcut(x)


def read_arch(arch: str) -> list[list[list[str | int]]]:
    """Parse a cell in the notation of the benchmark.

    Args:
        arch: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Returns:
        The [op, input] pairs of nodes 1, 2 and 3.

    Raises:
        UserError: The string has another form, or names an unknown candidate.
    """
    nodes = [re.findall(r"(\w+)~(\d)", part) for part in arch.split("+")]
    pairs = [[[op, int(index)] for op, index in node] for node in nodes]
    sources = [[index for _, index in node] for node in pairs]
    if write_arch(pairs) != arch or sources != [list(range(node)) for node in NODES]:
        raise UserError(
            f"cell {arch!r}: write it as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, each op one of "
            + ", ".join(CANDIDATES)
        )
    for op in (op for node in pairs for op, _ in node):
        if op not in CANDIDATES:
            raise UserError(
                f"cell {short(arch)}: no candidate is named {short(op)}; "
                f"{did_you_mean(op, CANDIDATES)}"
            )
    return pairs


def write_arch(nodes: Sequence[Sequence[Sequence[Any]]]) -> str:
    """Format a cell in the notation of the benchmark; the inverse of `read_arch`."""
    return "+".join("|" + "".join(f"{op}~{index}|" for op, index in node) for node in nodes)
