"""Which of several inputs a layer takes: all of them weighted, or the chosen ones."""

from collections.abc import Sequence

from torch import Tensor, nn

from srnas.choice.mixed_op import Mixture


class WeightedInputs(nn.Module):
    """While searching: every input times its weight. Its length is how many it gives."""

    def __init__(self, mixture: Mixture, label: str, count: int) -> None:
        super().__init__()
        self.mixture, self.label, self.count = mixture, label, count

    def __len__(self) -> int:
        return self.count

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The list of inputs, weighted, for concatenation."""
        weights = self.mixture.weights[self.label].unbind()
        return [w * x for w, x in zip(weights, inputs, strict=True)]


class ChosenInputs(nn.Module):
    """After derivation: the chosen inputs as they are, in order."""

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The chosen of the inputs."""
        return [inputs[index] for index in self.indices]
