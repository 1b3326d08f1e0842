"""Noise on the candidates' weights while the weights learn (SmoothDARTS, ICML 2020).

At a weight step the relaxed weights p are replaced by p + delta, clipped to [0, 1] and divided
by their sum; |delta| <= epsilon, which grows from `start` to `end` over the search. The network
learns to do without exact alphas, which smooths the loss around them.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from srnas.choice import Supernet
from srnas.registry import Registry

PERTURBATIONS = Registry("perturbation")
NonNegative = Annotated[float, Ge(0)]
Deltas = dict[str, Tensor]


@PERTURBATIONS.register("random")
class RandomPerturbation:
    """delta uniform in [-epsilon, epsilon] (SDARTS-RS)."""

    def __init__(self, *, start: NonNegative = 0.03, end: NonNegative = 0.3) -> None:
        self.start, self.end = start, end

    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """label -> delta of one step."""
        epsilon = self.start + (self.end - self.start) * progress
        return _uniform(supernet, epsilon)


@PERTURBATIONS.register("adversarial")
class AdversarialPerturbation:
    """The delta that raises the loss of the batch: `steps` steps of 2 epsilon / steps along
    the gradient's sign from a random start (SDARTS-ADV). Each step is a pass of the supernet.
    """

    def __init__(
        self,
        *,
        start: NonNegative = 0.03,
        end: NonNegative = 0.3,
        steps: Annotated[int, Ge(1)] = 7,
    ) -> None:
        self.start, self.end, self.steps = start, end, steps

    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """label -> delta of one step; `loss` is that of the batch, a pass of the supernet."""
        epsilon = self.start + (self.end - self.start) * progress
        deltas = _uniform(supernet, epsilon)
        for _ in range(self.steps):
            for delta in deltas.values():
                delta.requires_grad_()
            with supernet.perturbed(deltas):
                gradients = torch.autograd.grad(
                    loss(), list(deltas.values()), materialize_grads=True
                )
            deltas = {
                label: (delta + 2 * epsilon / self.steps * g.sign()).clamp(-epsilon, epsilon)
                for (label, delta), g in zip(deltas.items(), gradients, strict=True)
            }
            deltas = {label: delta.detach() for label, delta in deltas.items()}
        return deltas


def _uniform(supernet: Supernet, epsilon: float) -> Deltas:
    return {
        label: epsilon * (2 * torch.rand_like(supernet.alphas[label]) - 1).detach()
        for label in supernet.positions
    }
