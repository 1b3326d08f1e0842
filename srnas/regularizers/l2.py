"""L2 on the alphas."""

import torch
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS


@REGULARIZERS.register("l2")
class L2:
    """Half the sum of squared logits: its gradient is alpha.

    With weight w this equals the coupled weight decay w of torch's Adam on the alphas, the
    way DARTS and Beta-DARTS regularize them (w = 1e-3), but with a schedule.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, supernet: Supernet) -> Tensor:
        return 0.5 * torch.stack([a.square().sum() for a in supernet.arch_parameters()]).sum()
