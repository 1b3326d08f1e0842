"""Beta decay (Ye et al., beta-DARTS, CVPR 2022)."""

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("beta_decay")
class BetaDecay(Regularizer):
    """Mean over positions of logsumexp over the raw logits, summed over alpha matrices.

    In a matrix of E positions its gradient is p / E with p = softmax(alpha): large probabilities
    are pushed down most, and the gradients of a position sum to 1 / E.
    """

    def __call__(self, supernet: Supernet) -> Tensor:
        means = [torch.logsumexp(m, dim=-1).mean() for m in supernet.alpha_matrices()]
        return torch.stack(means).sum()
