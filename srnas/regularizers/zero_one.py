"""FairDARTS's zero-one loss (Chu et al., ECCV 2020)."""

from typing import Literal

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS


@REGULARIZERS.register("zero_one")
class ZeroOne:
    """-mean (sigmoid(alpha) - 1/2)^2 over each alpha matrix, summed over matrices: pushes each
    candidate's weight to 0 or 1. The paper's weight is 10.

    power: 2 as above; 1: -mean |sigmoid(alpha) - 1/2|.
    """

    def __init__(self, *, power: Literal[1, 2] = 2) -> None:
        self.power = power

    def __call__(self, supernet: Supernet) -> Tensor:
        means = [
            (torch.sigmoid(m) - 0.5).abs().pow(self.power).mean() for m in supernet.alpha_matrices()
        ]
        return -torch.stack(means).sum()
