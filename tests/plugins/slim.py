"""A small space with a width, a depth and an operation to choose."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice import Builder
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import SPACES
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.spaces.published import named_candidates


@SPACES.register("slim")
class Slim(SuperResolutionSpace):
    """A convolution, an operation, repeated 3x3 convolutions, and pixel shuffle.

    Choices: width and hidden, numbers of channels; depth, a number of blocks; op, a candidate.
    """

    published: ClassVar[Mapping[str, Any]] = {
        "width": 8,
        "hidden": 4,
        "depth": 2,
        "op": "conv_3x3",
    }

    def __init__(self, choose: Builder, *, scale: Literal[2, 3, 4] = 2) -> None:
        super().__init__()
        self.scale = scale
        self.width = choose.width("width", (4, 6, 8), lambda w: 9 * 8 * w)
        self.hidden = choose.width("hidden", (2, 4), lambda w: 2 * 9 * 8 * w)
        self.depth = choose.depth("depth", (0, 1, 2), lambda d: d * 2 * 9 * 8 * 4)
        width, hidden = self.width.channels, self.hidden.channels
        self.head = nn.Conv2d(3, width, 3, padding=1)
        table = named_candidates(SR_PRIMITIVES, ("conv_3x3", "conv_5x5", "ds_conv_3x3"))
        self.op = choose.op("op", table, width, width)
        count = self.depth.count
        self.ups = nn.ModuleList(nn.Conv2d(width, hidden, 3, padding=1) for _ in range(count))
        self.downs = nn.ModuleList(nn.Conv2d(hidden, width, 3, padding=1) for _ in range(count))
        self.upsample = nn.Sequential(
            nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.width(self.op(self.width(F.relu(self.head(x)))))
        blocks = [lambda x, i=i: self.block(x, i) for i in range(len(self.ups))]
        return self.upsample(self.depth(x, blocks))

    def block(self, x: Tensor, index: int) -> Tensor:
        hidden = self.hidden(F.relu(self.ups[index](x)))
        return x + self.width(self.downs[index](hidden))
