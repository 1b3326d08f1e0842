"""Which of several inputs a layer takes: all of them weighted, or the chosen ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from srnas.choice.mixed_op import SharedWeights


class WeightedInputs(nn.Module):
    """The inputs during the search: each times its weight. Its length is their number."""

    def __init__(self, shared: SharedWeights, label: str, count: int) -> None:
        super().__init__()
        self.shared, self.label, self.count = shared, label, count

    def __len__(self) -> int:
        return self.count

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the weighted inputs, for concatenation."""
        weights = self.shared.weights[self.label].unbind()
        return [w * x for w, x in zip(weights, inputs, strict=True)]


class ChosenInputs(nn.Module):
    """The inputs of a derived network: the chosen ones, in the genotype's order."""

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the chosen inputs, for concatenation."""
        return [inputs[index] for index in self.indices]
