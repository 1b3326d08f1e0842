"""L2 regularization of the alphas."""

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("l2")
class L2(Regularizer):
    """Half the sum of the squared logits; its gradient is alpha.

    With weight w it equals a weight decay of w in torch's Adam, where the decay is coupled into the
    gradient; DARTS and Beta-DARTS use this with w = 1e-3. In contrast to weight decay, w can follow
    a schedule here.
    """

    def __call__(self, supernet: Supernet) -> Tensor:
        return 0.5 * torch.stack([a.square().sum() for a in supernet.arch_parameters()]).sum()
