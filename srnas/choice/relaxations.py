"""Relaxations: maps from a row of logits (alphas) to the weights of its candidates.

A relaxation is applied once to each row per forward pass, to the logits of the candidates that are
still in the search. Relaxations that sample do so in training mode only; in evaluation mode they
return the most likely or the expected weights.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from srnas.components import Registry


class Relaxation(ABC):
    """A map from logits to weights.

    Attributes:
        single: Whether only one candidate has a nonzero weight, so that the others need not be
            computed.
        prunes: Whether a candidate is removed from the search when its logit falls to 0.
        progress: Progress of the search in [0, 1], which temperatures depend on.
        to_last: Number of the epoch as a fraction of that of the last epoch: 1 in the last epoch,
            where `progress` is still below 1.
    """

    single = False
    prunes = False
    progress = 0.0
    to_last = 0.0

    def initial(self, count: int) -> float:
        """Return the initial value of the logits of `count` candidates, before noise is added."""
        return 0.0

    @abstractmethod
    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        """Map logits (N,) to the weights (N,) that mixed operations use."""

    @abstractmethod
    def probabilities(self, alpha: Tensor) -> Tensor:
        """Map logits (N,) to weights (N,) that sum to 1, without sampling.

        Costs and reports use them.
        """

    def strengths(self, alpha: Tensor) -> Tensor:
        """Map logits (N,) to deterministic weights (N,), before they are normalized to sum to 1.

        Genotypes are derived from them.
        """
        return self.probabilities(alpha)


RELAXATIONS: Registry[Relaxation] = Registry("relaxation", base=Relaxation)


class _Softmaxed(Relaxation):
    def probabilities(self, alpha: Tensor) -> Tensor:
        """Return softmax(alpha)."""
        return torch.softmax(alpha, dim=-1)


@RELAXATIONS.register("softmax")
class Softmax(Relaxation):
    """w = softmax(alpha / temperature) (DARTS, Eq. 2).

    Args:
        temperature: Temperature, constant over the search.
    """

    def __init__(self, *, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        self.temperature = temperature

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return self.probabilities(alpha)

    def probabilities(self, alpha: Tensor) -> Tensor:
        """Return softmax(alpha / temperature)."""
        return torch.softmax(alpha / self.temperature, dim=-1)


@RELAXATIONS.register("sigmoid")
class Sigmoid(Relaxation):
    """w = sigmoid(alpha), so that candidates do not compete (FairDARTS, Single-DARTS).

    The weights do not sum to 1; costs and reports use them divided by their sum.

    Args:
        start: "uniform" starts the logits at -ln(N - 1), where every weight is 1/N (Single-DARTS);
            "zero" starts them at 0, where every weight is 1/2 (FairDARTS).
    """

    def __init__(self, *, start: Literal["uniform", "zero"] = "uniform") -> None:
        self.start = start

    def initial(self, count: int) -> float:
        """Return -ln(count - 1) for a uniform start, otherwise 0."""
        return -math.log(count - 1) if self.start == "uniform" and count > 1 else 0.0

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return torch.sigmoid(alpha)

    def probabilities(self, alpha: Tensor) -> Tensor:
        """Return the sigmoids divided by their sum."""
        w = torch.sigmoid(alpha)
        return w / w.sum()

    def strengths(self, alpha: Tensor) -> Tensor:
        """Return the sigmoids."""
        return torch.sigmoid(alpha)


@RELAXATIONS.register("gumbel_softmax")
class GumbelSoftmax(_Softmaxed):
    """w = softmax((alpha + G) / tau) with Gumbel(0, 1) noise G (SNAS, Eq. 5).

    In evaluation mode w = softmax(alpha).

    Args:
        temperature: tau at the start of the search; it falls linearly.
        end_temperature: tau at the end.
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
        """Current temperature."""
        return self.temperature + (self.end_temperature - self.temperature) * self.progress

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return self.probabilities(alpha)
        return torch.softmax((alpha + _gumbel(alpha)) / self.tau, dim=-1)


@RELAXATIONS.register("straight_through")
class StraightThrough(GumbelSoftmax):
    """One candidate, sampled as argmax((alpha + G) / tau); only this one is computed (GDAS).

    Its weight is 1, with the gradient of its softmax probability at temperature tau. In evaluation
    mode the candidate with the largest logit is taken. The released code also passes gradients to
    the weights of candidates that it does not compute, as if their outputs were 1; here these
    weights get no gradient.

    Args:
        temperature: tau in the first epoch; it falls linearly.
        end_temperature: tau in the last epoch.
    """

    single = True

    def __init__(
        self,
        *,
        temperature: Annotated[float, Gt(0)] = 10.0,
        end_temperature: Annotated[float, Gt(0)] = 0.1,
    ) -> None:
        super().__init__(temperature=temperature, end_temperature=end_temperature)

    @property
    def tau(self) -> float:
        """Current temperature."""
        return self.temperature + (self.end_temperature - self.temperature) * self.to_last

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return _one_hot(alpha, alpha)
        soft = super().__call__(alpha, training)
        return _one_hot(soft, alpha) + soft - soft.detach()


@RELAXATIONS.register("uniform_sample")
class UniformSample(_Softmaxed):
    """One candidate, drawn uniformly whatever the logits (random sampling with shared weights).

    Li and Talwalkar, Random search and reproducibility for neural architecture search, 2019. In
    evaluation mode the candidate with the largest logit is taken.
    """

    single = True

    def __init__(self) -> None:
        pass

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return _one_hot(torch.rand_like(alpha) if training else alpha, alpha)


@RELAXATIONS.register("dirichlet")
class Dirichlet(Relaxation):
    """w ~ Dirichlet(elu(alpha) + 1), with pathwise gradients (DrNAS).

    In evaluation mode w is the mean of the distribution; the released code samples there, too.
    Genotypes are derived from softmax(alpha), as in the released code. It ranks the candidates of
    a position as the mean does, but can rank the edges of a node differently.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        if not training:
            return self.probabilities(alpha)
        return torch.distributions.Dirichlet(concentration(alpha)).rsample()

    def probabilities(self, alpha: Tensor) -> Tensor:
        """Return the mean of the distribution."""
        c = concentration(alpha)
        return c / c.sum()

    def strengths(self, alpha: Tensor) -> Tensor:
        """Return softmax(alpha)."""
        return torch.softmax(alpha, dim=-1)


@RELAXATIONS.register("crb")
class ConstrainedRange(Relaxation):
    """w = alpha clamped to [0, 1]; a candidate whose logit falls to 0 is dropped (CRB).

    This is CRB of DARTS-PRIME. The logits start at 1/N. The weights do not sum to 1; costs and
    reports use them divided by their sum. The last candidate of a row is never dropped.
    """

    prunes = True

    def __init__(self) -> None:
        pass

    def initial(self, count: int) -> float:
        """Return 1 / count."""
        return 1 / count

    def __call__(self, alpha: Tensor, training: bool) -> Tensor:
        return alpha.clamp(0, 1)

    def probabilities(self, alpha: Tensor) -> Tensor:
        """Return the clamped logits divided by their sum, or zeros if it is 0."""
        w = alpha.clamp(0, 1)
        total = w.sum()
        return w / torch.where(total == 0, torch.ones_like(total), total)

    def strengths(self, alpha: Tensor) -> Tensor:
        """Return the clamped logits."""
        return alpha.clamp(0, 1)


def concentration(alpha: Tensor) -> Tensor:
    """Return elu(alpha) + 1 > 0, the concentration of the Dirichlet distribution of DrNAS."""
    return F.elu(alpha) + 1 + torch.finfo(alpha.dtype).tiny


def _gumbel(alpha: Tensor) -> Tensor:
    return -torch.empty_like(alpha).exponential_().log()


def _one_hot(scores: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(scores.argmax(), len(scores)).to(like.dtype)
