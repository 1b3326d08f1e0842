"""NAS-Bench-201: a cell of four nodes and six edges, five candidates each; 15,625 networks.

Dong, Yang: NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR
2020, after its released code.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from srnas.errors import UserError, did_you_mean
from srnas.primitives.darts import relu_conv_bn
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces import SPACES

NODES = (1, 2, 3)  # each is the sum over its edges from all nodes before it; 0 is the input
STAGES = 3


@SPACES.register("nasbench201")
class NASBench201(nn.Module):
    """conv - three stages of num_cell cells at 1, 2, 4 x num_feat channels, with a residual block
    of stride 2 between them - BatchNorm, ReLU - global average - linear.

    x: (B, 3, H, W) -> (B, num_classes) logits.

    Choices: cell, the string of the benchmark: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    num_classes: 10 (CIFAR-10). num_feat: channels of the first stage (16). num_cell: cells of
    a stage (5).
    """

    task: ClassVar[str] = "classification"
    # what SA, Beta decay, DrNAS and Single-DARTS all report to find
    published: ClassVar[dict[str, str]] = {
        "cell": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
        "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    }

    def __init__(
        self,
        choose: Any,
        *,
        num_classes: Annotated[int, Ge(2)] = 10,
        num_feat: Annotated[int, Ge(1)] = 16,
        num_cell: Annotated[int, Ge(1)] = 5,
    ) -> None:
        super().__init__()
        widths = [num_feat * 2**stage for stage in range(STAGES)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, num_feat, 3, padding=1, bias=False), nn.BatchNorm2d(num_feat)
        )
        layers: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage:
                layers.append(ResidualBlock(widths[stage - 1], width))
            layers += [Cell(choose, width) for _ in range(num_cell)]
        self.body = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.norm(self.body(self.stem(x))))
        return self.classifier(F.adaptive_avg_pool2d(features, 1).flatten(1))

    @staticmethod
    def read_choices(choices: Mapping[str, Any]) -> dict[str, Any]:
        """{"cell": string} -> {"cell/1": [[op, 0]], "cell/2": ..., "cell/3": ...}."""
        flat = dict(choices)
        if not isinstance(flat.get("cell"), str):
            raise UserError("genotype: choices.cell is missing, or not a string as |op~0|+...")
        nodes = read_arch(flat.pop("cell"))
        return flat | {f"cell/{node}": edges for node, edges in zip(NODES, nodes, strict=True)}

    @staticmethod
    def write_choices(flat: Mapping[str, Any]) -> dict[str, str]:
        """What `read_choices` reads."""
        return {"cell": write_arch([flat[f"cell/{node}"] for node in NODES])}


class Cell(nn.Module):
    """Node 3 of the searched graph; its input is node 0. It keeps the shape."""

    def __init__(self, choose: Any, channels: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(
            choose.edges(f"cell/{node}", node, None, NB201_PRIMITIVES, channels, [1] * node)
            for node in NODES
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for node in self.nodes:
            outputs.append(node(outputs))
        return outputs[-1]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the first with stride 2, beside pooling and a 1x1; not searched."""

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
        return self.convs(x) + self.shortcut(x)


def read_arch(arch: str) -> list[list[list[str | int]]]:
    """`|op~0|+|op~0|op~1|+|op~0|op~1|op~2|` -> [op, input] pairs of nodes 1, 2, 3.

    Raises UserError for anything else.
    """
    nodes = [re.findall(r"(\w+)~(\d)", part) for part in arch.split("+")]
    pairs = [[[op, int(index)] for op, index in node] for node in nodes]
    sources = [[index for _, index in node] for node in pairs]
    if write_arch(pairs) != arch or sources != [list(range(node)) for node in NODES]:
        raise UserError(
            f"cell {arch!r}: write it as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, each op one of "
            + ", ".join(NB201_PRIMITIVES)
        )
    for op in (op for node in pairs for op, _ in node):
        if op not in NB201_PRIMITIVES:
            raise UserError(
                f"cell {arch!r}: no candidate is named {op!r}; {did_you_mean(op, NB201_PRIMITIVES)}"
            )
    return pairs


def write_arch(nodes: Sequence[Sequence[Sequence[Any]]]) -> str:
    """What `read_arch` reads."""
    return "+".join("|" + "".join(f"{op}~{index}|" for op, index in node) for node in nodes)
