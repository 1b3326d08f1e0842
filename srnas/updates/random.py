"""The random baselines that every claim is measured against."""

from typing import Annotated

import torch
from annotated_types import Ge

from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("nothing")
class Nothing(UpdateRule):
    """Moves neither weights nor alphas: the genotype is that of the alphas' random start."""

    def __init__(self) -> None:
        pass

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        """Do nothing."""


@UPDATES.register("random_sampling")
class RandomSampling(UpdateRule):
    """Random sampling with shared weights (Li and Talwalkar, 2019).

    Trains the weights alone, with the relaxation `uniform_sample`. At the end it takes the random
    genotype with the smallest loss under the shared weights.

    Args:
        samples: The number of random genotypes.
        batches: The number of batches of the alphas' images that each is evaluated on.
    """

    def __init__(
        self, *, samples: Annotated[int, Ge(1)] = 100, batches: Annotated[int, Ge(1)] = 4
    ) -> None:
        self.samples, self.batches = samples, batches

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        stepper.weight_step(next(stepper.train_batches))

    @torch.no_grad()
    def finish(self, stepper: Stepper) -> None:
        """Write the best sample into the alphas."""
        supernet = stepper.supernet
        batches = [next(stepper.alpha_batches) for _ in range(self.batches)]
        mode = supernet.training
        supernet.eval()
        best, least = None, float("inf")
        for _ in range(self.samples):
            for alpha in supernet.arch_parameters():
                alpha.copy_(torch.rand_like(alpha))
            loss = sum(stepper.task.loss(supernet, batch).item() for batch in batches)
            if loss < least:
                best, least = [a.clone() for a in supernet.arch_parameters()], loss
        for alpha, chosen in zip(supernet.arch_parameters(), best or [], strict=True):
            alpha.copy_(chosen)
        supernet.train(mode)
