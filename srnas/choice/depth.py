"""Depths: the number of repeated blocks.

In the supernet all blocks run, and the output is the weighted sum of what comes after each depth,
as in Wan et al., FBNetV2, CVPR 2020, and Cai et al., Once-for-All, ICLR 2020, whose shallower
networks are the first blocks of the deeper ones.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from srnas.choice.choice import Context, OneOf
from srnas.choice.mixed_op import SharedWeights, add_all
from srnas.choice.place import Place


@dataclass(frozen=True)
class DepthChoice(OneOf):
    """A searched number of blocks, which have the same shape of input and output.

    Attributes:
        place: Where it is.
        depths: The numbers of blocks, ascending; 0 passes the input on.
        cost: Cost of a depth, by default the depth: MACs per pixel of its blocks, with everything
            else as large as it can be.
    """

    place: Place
    depths: Sequence[int]
    cost: Callable[[int], float] = field(default=float, compare=False)

    def __post_init__(self) -> None:
        assert list(self.depths) == sorted(set(self.depths)), self
        assert self.depths[0] >= 0, self

    def alternatives(self) -> list[int]:
        """Return the depths."""
        return list(self.depths)

    def relaxed(self, context: Context) -> "WeightedDepths":
        """Build a module that weighs the output after each depth."""
        return WeightedDepths(context.shared, self.label, self.depths)

    def derived(self, value: int) -> "Repeated":
        """Build a module that runs as many blocks."""
        return Repeated(value)

    def costs(self, channels: int | None = None) -> list[float]:
        """Return the cost of each depth."""
        return [self.cost(depth) for depth in self.depths]


class WeightedDepths(nn.Module):
    """A depth in the supernet: the weighted sum of the outputs after each number of blocks.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the choice.
        depths: The numbers of blocks, ascending.

    Attributes:
        count: The largest number, of which there must be blocks.
    """

    def __init__(self, shared: SharedWeights, label: str, depths: Sequence[int]) -> None:
        super().__init__()
        self.shared, self.label = shared, label
        self.depths, self.count = list(depths), max(depths)

    def forward(self, x: Tensor, blocks: Iterable[Callable[[Tensor], Tensor]]) -> Tensor:
        """Map (B, C, H, W) to the same shape, through `count` blocks."""
        weights = self.shared.weights[self.label].unbind()
        computed = self.shared.computed.get(self.label, range(len(weights)))
        kept = {self.depths[index]: weights[index] for index in computed}
        outputs = [kept[0] * x] if 0 in kept else []
        for number, block in enumerate(blocks, 1):
            if number > max(kept):
                break
            x = block(x)
            if number in kept:
                outputs.append(kept[number] * x)
        return add_all(outputs)


class Repeated(nn.Module):
    """A depth of a derived network.

    Attributes:
        count: The number of blocks.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor, blocks: Iterable[Callable[[Tensor], Tensor]]) -> Tensor:
        """Apply the blocks, `count` in number."""
        for block in blocks:
            x = block(x)
        return x
