"""The zero-one loss of FairDARTS (Chu et al., ECCV 2020)."""

from typing import Literal

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("zero_one")
class ZeroOne(Regularizer):
    """-mean (sigmoid(alpha) - 1/2)^2 over all logits (FairDARTS, Eq. 4).

    It pushes the weight of each candidate towards 0 or 1. The paper uses the weight 10. There is
    one mean over the logits of all alpha matrices, as in the released code, which concatenates
    normal and reduction cells.

    Args:
        power: 2 for the squared form above, 1 for -mean |sigmoid(alpha) - 1/2|.
    """

    def __init__(self, *, power: Literal[1, 2] = 2) -> None:
        self.power = power

    def __call__(self, supernet: Supernet) -> Tensor:
        logits = torch.cat([matrix.flatten() for matrix in supernet.alpha_matrices()])
        return -(torch.sigmoid(logits) - 0.5).abs().pow(self.power).mean()
