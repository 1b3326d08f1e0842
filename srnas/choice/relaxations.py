"""Relaxations: an alpha row of logits -> the weights of its candidates."""

import torch
from torch import Tensor

from srnas.registry import Registry

RELAXATIONS = Registry("relaxation")


@RELAXATIONS.register("softmax")
class Softmax:
    """w = softmax(alpha / temperature) (DARTS, Eq. 2)."""

    def __init__(self, *, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def __call__(self, alpha: Tensor) -> Tensor:
        """alpha: (N,) logits -> (N,) weights that sum to 1; the mixture uses them."""
        return torch.softmax(alpha / self.temperature, dim=-1)

    def probabilities(self, alpha: Tensor) -> Tensor:
        """alpha: (N,) logits -> (N,) probabilities without sampling, for costs and reports."""
        return self(alpha)
