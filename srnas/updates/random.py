"""The random baselines that every search method should be compared with."""

import torch

from srnas.components import PositiveInt
from srnas.distributed import average
from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("nothing")
class Nothing(UpdateRule):
    """Move neither weights nor alphas; the random start of the alphas gives the genotype."""

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        """Do nothing."""


@UPDATES.register("random_sampling")
class RandomSampling(UpdateRule):
    """Random sampling with shared weights (Li and Talwalkar, 2019).

    The search trains the weights alone, with the relaxation `uniform_sample`. At the end, the
    random genotype with the smallest loss under the shared weights is taken.

    Args:
        samples: Number of random genotypes.
        batches: Number of batches of the alphas' images on which each one is evaluated.
    """

    def __init__(self, *, samples: PositiveInt = 100, batches: PositiveInt = 4) -> None:
        self.samples, self.batches = samples, batches

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        stepper.weight_step(next(stepper.train_batches))

    @torch.no_grad()
    def finish(self, stepper: Stepper) -> None:
        """Set the alphas to the best of the random samples."""
        supernet = stepper.supernet
        batches = [next(stepper.alpha_batches) for _ in range(self.batches)]
        mode = supernet.training
        supernet.eval()
        best, least = None, float("inf")
        for _ in range(self.samples):
            for alpha in supernet.arch_parameters():
                alpha.copy_(torch.rand_like(alpha))
            (loss,) = average([sum(stepper.task.loss(supernet, b).item() for b in batches)])
            if loss < least:
                best, least = [a.clone() for a in supernet.arch_parameters()], loss
        for alpha, chosen in zip(supernet.arch_parameters(), best or [], strict=True):
            alpha.copy_(chosen)
        supernet.train(mode)
