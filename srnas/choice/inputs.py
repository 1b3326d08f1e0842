"""Links: the inputs of a layer among earlier outputs, either all weighted or the chosen ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from srnas.choice.mixed_op import SharedWeights


class WeightedInputs(nn.Module):
    """A link in the supernet: every input, multiplied by its weight.

    Args:
        shared: State of the supernet's forward pass, which holds the weights.
        label: Label of the link.
        count: Number of inputs, which is also the length of the module.
    """

    def __init__(self, shared: SharedWeights, label: str, count: int) -> None:
        super().__init__()
        self.shared, self.label, self.count = shared, label, count

    def __len__(self) -> int:
        return self.count

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map the inputs to the weighted inputs, for concatenation."""
        weights = self.shared.weights[self.label].unbind()
        return [w * x for w, x in zip(weights, inputs, strict=True)]


class ChosenInputs(nn.Module):
    """A link of a derived network: the chosen inputs.

    Args:
        indices: Indices of the chosen inputs, from 0, in the order of the genotype. Their number is
            the length of the module.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Select the chosen inputs, for concatenation."""
        return [inputs[index] for index in self.indices]
