"""L2 on the alphas."""

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("l2")
class L2(Regularizer):
    """Half the sum of squared logits; its gradient is alpha.

    With weight w it equals the coupled weight decay w of torch's Adam on the alphas, which DARTS
    and Beta-DARTS use (w = 1e-3), but its weight can follow a schedule.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, supernet: Supernet) -> Tensor:
        return 0.5 * torch.stack([a.square().sum() for a in supernet.arch_parameters()]).sum()
