"""The DARTS search space: a stack of normal and reduction cells, for CIFAR and ImageNet.

Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, ICLR 2019, after its released
code.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from srnas.choice import Candidates
from srnas.choice.edges import ChosenEdges
from srnas.errors import UserError
from srnas.primitives.darts import FactorizedReduce, relu_conv_bn
from srnas.spaces import SPACES
from srnas.spaces.darts_sets import NODES, edge_candidates

KEPT = 2  # edges of a node, after derivation


@SPACES.register("darts")
class DARTS(nn.Module):
    """stem - num_cell cells, each fed by the two before it - global average - linear.

    The cells at a third and two thirds of the depth are reduction cells: they halve the sides
    and double the channels.

    x: (B, 3, H, W) -> (B, num_classes) logits; sides are multiples of 4, with the ImageNet
    stem of 32. In training with `auxiliary`: (logits, logits of the auxiliary head).

    Choices: normal and reduce, each the four nodes' [candidate, input] pairs, strongest first;
    inputs 0 and 1 are the two cells before, 2 to 4 the nodes.

    num_classes: 10 (CIFAR-10). num_feat: channels, even: 16 searches, 36 is DARTS' evaluation on
    CIFAR, 48 on ImageNet. num_cell: 8 searches, 20 and 14 evaluate. stem: one convolution
    ("cifar") or three of stride 2 ("imagenet"). auxiliary: a second classifier at two thirds of
    the depth, for images of 32x32 (224x224). space_set: the candidates, see
    `srnas.spaces.darts_sets`.

    Attributes:
        drop_path_prob: set it before a training epoch; edges of a derived network are left
            out with this probability, see `ChosenEdges`.
    """

    task: ClassVar[str] = "classification"
    published: ClassVar[dict[str, Any]] = {  # DARTS_V2, found by second order
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
        choose: Any,
        *,
        num_classes: Annotated[int, Ge(2)] = 10,
        num_feat: Annotated[int, Ge(2), MultipleOf(2)] = 16,
        num_cell: Annotated[int, Ge(3)] = 8,
        stem: Literal["cifar", "imagenet"] = "cifar",
        auxiliary: bool = False,
        space_set: Literal["full", "s1", "s2", "s3", "s4", "s5", "three"] = "full",
    ) -> None:
        super().__init__()
        imagenet = stem == "imagenet"
        self.multiple = 32 if imagenet else 4
        self.stem0, self.stem1 = _imagenet_stem(num_feat) if imagenet else _cifar_stem(num_feat)
        tables = {cell: edge_candidates(space_set, cell) for cell in ("normal", "reduce")}
        reductions = (num_cell // 3, 2 * num_cell // 3)
        self.auxiliary_after = reductions[1]
        before = last = num_feat if imagenet else 3 * num_feat
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
        self._drop_path_prob = 0.0

    @property
    def drop_path_prob(self) -> float:
        """The probability in force, from 0 to below 1."""
        return self._drop_path_prob

    @drop_path_prob.setter
    def drop_path_prob(self, prob: float) -> None:
        self._drop_path_prob = prob
        for module in self.modules():
            if isinstance(module, ChosenEdges):
                module.drop_path_prob = prob

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
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

    @staticmethod
    def read_choices(choices: Mapping[str, Any]) -> dict[str, Any]:
        """{"normal": nodes, "reduce": nodes} -> {"normal/2": pairs, "normal/3": pairs, ...}."""
        flat = dict(choices)
        for cell in ("normal", "reduce"):
            nodes = flat.pop(cell, None)
            if not isinstance(nodes, list) or len(nodes) != len(NODES):
                raise UserError(
                    f"genotype: choices.{cell} is missing, or not a list of {len(NODES)} nodes"
                )
            flat |= {f"{cell}/{node}": pairs for node, pairs in zip(NODES, nodes, strict=True)}
        return flat

    @staticmethod
    def write_choices(flat: Mapping[str, Any]) -> dict[str, Any]:
        """What `read_choices` reads."""
        return {cell: [flat[f"{cell}/{node}"] for node in NODES] for cell in ("normal", "reduce")}


class Cell(nn.Module):
    """Four nodes, each the sum over searched edges from the two inputs and the nodes before it;
    the output is all four, concatenated.

    before, last: channels of the two inputs. halved: whether the cell between them halved the
    sides, so that the first input must follow.
    """

    def __init__(
        self,
        choose: Any,
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
                f"{kind}/{node}",
                node,
                KEPT,
                tables[node],
                channels,
                [stride, stride, *(1 for _ in range(2, node))],
            )
            for node in NODES
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        outputs = [self.preprocess0(before), self.preprocess1(last)]
        for node in self.nodes:
            outputs.append(node(outputs))
        return torch.cat(outputs[2:], dim=1)


def _conv_bn(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


def _cifar_stem(num_feat: int) -> tuple[nn.Module, nn.Module]:
    return nn.Sequential(*_conv_bn(3, 3 * num_feat, 1)), nn.Identity()


def _imagenet_stem(num_feat: int) -> tuple[nn.Module, nn.Module]:
    half = num_feat // 2
    first = nn.Sequential(*_conv_bn(3, half, 2), nn.ReLU(), *_conv_bn(half, num_feat, 2))
    return first, nn.Sequential(nn.ReLU(), *_conv_bn(num_feat, num_feat, 2))


def _auxiliary_head(channels: int, num_classes: int, imagenet: bool) -> nn.Module:
    """For 8x8 (CIFAR) or 7x7 (ImageNet) pixels; the latter lacks a BatchNorm, as released."""
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=2 if imagenet else 3),
        nn.Conv2d(channels, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        nn.Identity() if imagenet else nn.BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )
