"""Perturbations of the relaxed alphas in weight steps (SmoothDARTS, ICML 2020).

In a weight step the relaxed weights p of the candidates are replaced by p + delta, clipped to
[0, 1] and divided by their sum (`srnas.choice.supernet.project`). |delta| is at most epsilon, which
grows linearly from `start` to `end` over the search. The network weights learn not to depend on
exact alphas, which smooths the loss around them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from srnas.choice import Supernet
from srnas.choice.supernet import project
from srnas.components import PositiveInt, Registry
from srnas.distributed import average, averaged

NonNegative = Annotated[float, Ge(0)]
Deltas = dict[str, Tensor]


class Perturbation(ABC):
    """The way to find the deltas of a weight step."""

    @abstractmethod
    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """Return the deltas of one weight step, by label.

        Args:
            supernet: The supernet whose relaxed weights are perturbed.
            loss: A forward pass of the supernet on the step's batch, returning its loss.
            progress: The progress of the search in [0, 1].
        """


PERTURBATIONS: Registry[Perturbation] = Registry("perturbation", base=Perturbation)


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
        """Return the deltas of one weight step, by label; `loss` is not used."""
        epsilon = self.start + (self.end - self.start) * progress
        return _uniform(supernet, epsilon)


@PERTURBATIONS.register("adversarial")
class AdversarialPerturbation(Perturbation):
    """Search for the delta that raises the loss of the batch (SDARTS-ADV).

    From a random start, p takes `steps` steps of 2 epsilon / steps along the sign of dL/dp. After
    each, it is clipped to [-epsilon, epsilon] around its value before, and projected. If the loss
    is then smaller than without a perturbation, there is none. The passes are in evaluation mode,
    so that running statistics do not change; p is that of evaluation mode, too, if the relaxation
    samples. All this is as in the released code (`attacker/perturb.py`). Every step costs a forward
    and a backward pass of the supernet, and the comparison two forward passes.

    Args:
        start: Epsilon at the beginning of the search.
        end: Epsilon at the end of the search.
        steps: Number of ascent steps.
    """

    def __init__(
        self, *, start: NonNegative = 0.03, end: NonNegative = 0.3, steps: PositiveInt = 7
    ) -> None:
        self.start, self.end, self.steps = start, end, steps

    def __call__(self, supernet: Supernet, loss: Callable[[], Tensor], progress: float) -> Deltas:
        """Return the deltas of one weight step, by label."""
        epsilon = self.start + (self.end - self.start) * progress
        training = supernet.training
        supernet.eval()
        try:
            return self._attack(supernet, loss, epsilon)
        finally:
            supernet.train(training)

    def _attack(self, supernet: Supernet, loss: Callable[[], Tensor], epsilon: float) -> Deltas:
        start = {label: p.detach() for label, p in supernet.competing_weights().items()}

        def loss_at(weights: Deltas) -> Tensor:
            with supernet.replaced(weights):
                return loss()

        def projected(weights: Deltas) -> Deltas:
            alive = supernet.alive_masks
            return {k: project(w, alive.get_buffer(k)) for k, w in weights.items()}

        with torch.no_grad():
            (before,) = average([loss_at(start).item()])
        moved = projected({k: start[k] + d for k, d in _uniform(supernet, epsilon).items()})
        for _ in range(self.steps):
            for w in moved.values():
                w.requires_grad_()
            gradients = torch.autograd.grad(
                loss_at(moved), list(moved.values()), materialize_grads=True
            )
            length = 2 * epsilon / self.steps
            steps = {
                k: (w.detach() + length * g.sign() - start[k]).clamp(-epsilon, epsilon)
                for (k, w), g in zip(moved.items(), averaged(gradients), strict=True)
            }
            moved = projected({k: start[k] + step for k, step in steps.items()})
        with torch.no_grad():
            (after,) = average([loss_at(moved).item()])
        if after < before:
            moved = start
        return {k: w - start[k] for k, w in moved.items()}


def _uniform(supernet: Supernet, epsilon: float) -> Deltas:
    return {
        label: epsilon * (2 * torch.rand_like(supernet.alphas[label]) - 1).detach()
        for label in supernet.choices.competing
    }
