"""SA: a smooth activation over the logits (SA-DARTS, Eq. 7 and 8).

The authors name a US patent application on the method (US20240070455A1).
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


def smooth_maximum_unit(x: Tensor, a: float, mu: float) -> Tensor:
    """Compute SMU, f(x; a, mu) = ((1 + a) x + (1 - a) x erf(mu (1 - a) x)) / 2, elementwise.

    Biswas et al., SMU: smooth activation function for deep networks using smoothing maximum
    technique, 2021. It is the identity for a = 1, GELU for a = 0 and mu = 1/sqrt(2), and
    LeakyReLU with negative slope a for mu -> inf. Computed in float32 at least: mu^2 x^2
    overflows float16.
    """
    x = x if x.dtype == torch.float64 else x.float()
    return 0.5 * ((1 + a) * x + (1 - a) * x * torch.erf(mu * (1 - a) * x))


@REGULARIZERS.register("smooth_activation")
class SmoothActivation(Regularizer):
    """The mean over all logits of f(alpha; a, mu), see `smooth_maximum_unit`.

    Eq. 8 (a = 1) adds the same constant to every logit's gradient, and softmax does not see a
    shift: with plain SGD on the alphas it changes no probability. It acts through Adam's
    per-coordinate scaling, so the alpha optimizer is part of the method.

    Args:
        a: 1 is Eq. 8, the mean of the logits; mu is then without effect.
        mu: 0 gives the mean times (1 + a) / 2, equal to Eq. 8 only for a = 1.
        reduce: "sum_of_means" takes the mean of each alpha matrix (a DARTS network has two,
            normal and reduction) and sums them, "global_mean" the mean of all logits.
    """

    def __init__(
        self,
        *,
        a: float = 1.0,
        mu: Annotated[float, Ge(0)] = math.sqrt(0.5),
        reduce: Literal["sum_of_means", "global_mean"] = "sum_of_means",
    ) -> None:
        self.a = a
        self.mu = mu
        self.reduce = reduce

    def __call__(self, supernet: Supernet) -> Tensor:
        values = [smooth_maximum_unit(m, self.a, self.mu) for m in supernet.alpha_matrices()]
        if self.reduce == "global_mean":
            return torch.cat([value.flatten() for value in values]).mean()
        return torch.stack([value.mean() for value in values]).sum()
