"""Perturbations of the relaxed alphas in weight steps (SmoothDARTS, ICML 2020).

In a weight step the relaxed weights p of the candidates are replaced by p + delta, clipped to
[0, 1] and divided by their sum. |delta| is at most epsilon, which grows linearly from `start` to
`end` over the search. The network weights learn not to depend on exact alphas, which smooths the
loss around them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from srnas.choice import Supernet
from srnas.registry import Registry

NonNegative = Annotated[float, Ge(0)]
Deltas = dict[str, Tensor]


class Perturbation(ABC):
    """How the deltas of a weight step are found."""

    @abstractmethod
    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """Return the deltas of one weight step, by label.

        Args:
            supernet: The supernet whose relaxed weights are perturbed.
            loss: A forward pass of the supernet on the step's batch, returning its loss.
            progress: The progress of the search in [0, 1].
        """


PERTURBATIONS: Registry[Perturbation] = Registry(
    "perturbation",
    base=Perturbation,
)


@PERTURBATIONS.register("random")
class RandomPerturbation(Perturbation):
    """Draw delta uniformly from [-epsilon, epsilon] (SDARTS-RS).

    Args:
        start: Epsilon at the beginning of the search.
        end: Epsilon at the end of the search.
    """

    def __init__(self, *, start: NonNegative = 0.03, end: NonNegative = 0.3) -> None:
        self.start, self.end = start, end

    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """Return the deltas of one weight step, by label.

        Args:
            supernet: The supernet whose relaxed weights are perturbed.
            loss: Not used.
            progress: The progress of the search in [0, 1].
        """
        epsilon = self.start + (self.end - self.start) * progress
        return _uniform(supernet, epsilon)


@PERTURBATIONS.register("adversarial")
class AdversarialPerturbation(Perturbation):
    """Search for the delta that raises the loss of the batch (SDARTS-ADV).

    From a random start, delta takes `steps` steps of 2 epsilon / steps along the sign of the
    gradient and is clipped to [-epsilon, epsilon] after each. Every step costs a forward and a
    backward pass of the supernet.

    Args:
        start: Epsilon at the beginning of the search.
        end: Epsilon at the end of the search.
        steps: Number of ascent steps.
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
        """Return the deltas of one weight step, by label.

        Args:
            supernet: The supernet whose relaxed weights are perturbed.
            loss: Computes the loss of the batch with a forward pass of the supernet.
            progress: The progress of the search in [0, 1].
        """
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
        for label in supernet.choices.positions
    }
