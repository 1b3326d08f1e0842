"""Relaxations: an alpha row of logits -> the weights of its candidates.

A relaxation is called once for each row and pass, with the logits of the candidates that are
still alive. Where it samples, it does so in training mode only; in evaluation mode it takes what
is most likely or expected.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from srnas.registry import Registry

RELAXATIONS = Registry("relaxation")


class Relaxation(ABC):
    """What all have.

    single: whether only one candidate has a weight other than 0, so that the others need not
        be computed. prunes: whether a candidate whose logit falls to 0 is gone for good.
    """

    single = False
    prunes = False
    progress = 0.0  # of the search, in [0, 1]; temperatures go by it

    def initial(self, count: int) -> float:
        """Where the logits of `count` candidates start, noise apart."""
        return 0.0

    @abstractmethod
    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        """alpha: (N,) logits -> (N,) weights; the mixture uses them."""

    @abstractmethod
    def probabilities(self, alpha: Tensor) -> Tensor:
        """alpha: (N,) logits -> (N,) values that sum to 1, without sampling: for costs,
        reports and the genotype."""

    def strengths(self, alpha: Tensor) -> Tensor:
        """alpha: (N,) logits -> (N,) deterministic weights before they are made to sum to 1."""
        return self.probabilities(alpha)


class _Softmaxed(Relaxation):
    def probabilities(self, alpha: Tensor) -> Tensor:
        return torch.softmax(alpha, dim=-1)


@RELAXATIONS.register("softmax")
class Softmax(Relaxation):
    """w = softmax(alpha / temperature) (DARTS, Eq. 2)."""

    def __init__(self, *, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        self.temperature = temperature

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return self.probabilities(alpha)

    def probabilities(self, alpha: Tensor) -> Tensor:
        return torch.softmax(alpha / self.temperature, dim=-1)


@RELAXATIONS.register("sigmoid")
class Sigmoid(Relaxation):
    """w = sigmoid(alpha): candidates do not compete (FairDARTS, Single-DARTS).

    start: "uniform": the logits start at -ln(N - 1), where every weight is 1/N
    (Single-DARTS); "zero": at 0, every weight 1/2 (FairDARTS).

    The weights do not sum to 1; costs and reports use them divided by their sum.
    """

    def __init__(self, *, start: Literal["uniform", "zero"] = "uniform") -> None:
        self.start = start

    def initial(self, count: int) -> float:
        return -math.log(count - 1) if self.start == "uniform" and count > 1 else 0.0

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return torch.sigmoid(alpha)

    def probabilities(self, alpha: Tensor) -> Tensor:
        w = torch.sigmoid(alpha)
        return w / w.sum()

    def strengths(self, alpha: Tensor) -> Tensor:
        return torch.sigmoid(alpha)


@RELAXATIONS.register("gumbel_softmax")
class GumbelSoftmax(_Softmaxed):
    """w = softmax((alpha + G) / tau), G Gumbel(0, 1) noise (SNAS, Eq. 5).

    tau goes in a straight line over the search from `temperature` to `end_temperature`.
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 10.0,
        end_temperature: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        self.temperature, self.end_temperature = temperature, end_temperature

    @property
    def tau(self) -> float:
        """The temperature in force."""
        return self.temperature + (self.end_temperature - self.temperature) * self.progress

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return self.probabilities(alpha)
        return torch.softmax((alpha + _gumbel(alpha)) / self.tau, dim=-1)


@RELAXATIONS.register("straight_through")
class StraightThrough(GumbelSoftmax):
    """One candidate, sampled as argmax((alpha + G) / tau); only that one is run (GDAS).

    Its weight is 1 and has the gradient of its softmax probability at temperature tau. (The
    released code also lets gradients pass to the weights of the candidates it does not run, as
    if their outputs were 1; here they have none.)
    """

    single = True

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 10.0,
        end_temperature: Annotated[float, Gt(0)] = 0.1,
    ) -> None:
        super().__init__(temperature=temperature, end_temperature=end_temperature)

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return _one_hot(alpha, alpha)
        soft = super().__call__(alpha, training)
        return _one_hot(soft, alpha) + soft - soft.detach()


@RELAXATIONS.register("uniform_sample")
class UniformSample(_Softmaxed):
    """One candidate, each as likely, whatever the logits (random sampling with shared weights).

    Li and Talwalkar, Random search and reproducibility for neural architecture search, 2019.
    In evaluation mode the candidate with the largest logit.
    """

    single = True

    def __init__(self) -> None:
        pass

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return _one_hot(torch.rand_like(alpha) if training else alpha, alpha)


@RELAXATIONS.register("dirichlet")
class Dirichlet(Relaxation):
    """w ~ Dirichlet(elu(alpha) + 1), with its pathwise gradient (DrNAS); else its mean."""

    def __init__(self) -> None:
        pass

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return self.probabilities(alpha)
        return torch.distributions.Dirichlet(concentration(alpha)).rsample()

    def probabilities(self, alpha: Tensor) -> Tensor:
        c = concentration(alpha)
        return c / c.sum()


@RELAXATIONS.register("crb")
class ConstrainedRange(Relaxation):
    """w = alpha clamped to [0, 1]; a candidate whose logit falls to 0 is gone for good
    (DARTS-PRIME's CRB).

    The logits start at 1/N. Their weights do not sum to 1; costs and reports use them divided
    by their sum. The last candidate of a row is never dropped.
    """

    prunes = True

    def __init__(self) -> None:
        pass

    def initial(self, count: int) -> float:
        return 1 / count

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return alpha.clamp(0, 1)

    def probabilities(self, alpha: Tensor) -> Tensor:
        w = alpha.clamp(0, 1)
        total = w.sum()
        return w / torch.where(total == 0, torch.ones_like(total), total)

    def strengths(self, alpha: Tensor) -> Tensor:
        return alpha.clamp(0, 1)


def concentration(alpha: Tensor) -> Tensor:
    """The parameters of DrNAS's Dirichlet distribution, elu(alpha) + 1, above 0."""
    return F.elu(alpha) + 1 + torch.finfo(alpha.dtype).tiny


def _gumbel(alpha: Tensor) -> Tensor:
    return -torch.empty_like(alpha).exponential_().log()


def _one_hot(scores: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(scores.argmax(), len(scores)).to(like.dtype)
