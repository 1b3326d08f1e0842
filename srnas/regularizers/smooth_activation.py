"""SA: a smooth activation function of the logits (SA-DARTS, Eq. 7 and 8).

The authors mention a US patent application on the method (US20240070455A1).
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
    technique, 2021. It is the identity for a = 1, GELU for a = 0 and mu = 1/sqrt(2), and tends to
    LeakyReLU with negative slope a for mu -> inf. It is computed at least in float32, because
    mu^2 x^2 overflows float16.
    """
    x = x if x.dtype == torch.float64 else x.float()
    return 0.5 * ((1 + a) * x + (1 - a) * x * torch.erf(mu * (1 - a) * x))


@REGULARIZERS.register("smooth_activation")
class SmoothActivation(Regularizer):
    """Mean over each alpha matrix of the smooth maximum unit f(alpha; a, mu), summed (SA).

    `smooth_maximum_unit` computes f.

    With a = 1 (Eq. 8) it adds the same constant to the gradient of every logit of a matrix, and
    softmax is invariant to a shift. With plain SGD on the alphas it therefore changes no
    probability: it acts through Adam's per-coordinate scaling, so the alpha optimizer is part of
    the method.

    Args:
        a: 1 for Eq. 8, the mean of the logits, where mu has no effect.
        mu: With 0 the term is (1 + a) / 2 times the mean, which equals Eq. 8 only for a = 1.
        reduce: "sum_of_means" sums the means of the alpha matrices (a DARTS network has two, normal
            and reduction), "global_mean" takes the mean of all logits.
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
