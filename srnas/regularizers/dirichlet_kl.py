"""DrNAS's divergence from the flat Dirichlet distribution (Chen et al., ICLR 2021)."""

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from srnas.choice import Supernet
from srnas.choice.relaxations import concentration
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("dirichlet_kl")
class DirichletKL(Regularizer):
    """Sum over positions of KL(Dir(elu(alpha) + 1) || Dir(1)).

    DrNAS uses the weight 1e-3, with the weight decay of the alphas off. Its other variant uses that
    weight decay alone.
    """

    def __call__(self, supernet: Supernet) -> Tensor:
        terms = []
        for matrix in supernet.alpha_matrices():
            c = concentration(matrix)
            terms.append(kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c))).sum())
        return torch.stack(terms).sum()
