"""The baselines that every claim is measured against."""

from typing import Annotated

import torch
from annotated_types import Ge

from srnas.updates import UPDATES
from srnas.updates.rule import Steps, UpdateRule


@UPDATES.register("nothing")
class Nothing(UpdateRule):
    """Neither weights nor alphas move: the genotype is that of the alphas' random start."""

    def __init__(self) -> None:
        pass

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        """No step."""


@UPDATES.register("random_sampling")
class RandomSampling(UpdateRule):
    """Weights alone are trained, with the relaxation `uniform_sample`; at the end the best of
    `samples` random genotypes, by the shared weights' loss on `batches` batches of the alphas'
    images, is taken (Li and Talwalkar, 2019).
    """

    def __init__(
        self, *, samples: Annotated[int, Ge(1)] = 100, batches: Annotated[int, Ge(1)] = 4
    ) -> None:
        self.samples, self.batches = samples, batches

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        search.weight_step(next(search.train))

    @torch.no_grad()
    def finish(self, search: Steps) -> None:
        """Write the best sample's ranks into the alphas."""
        supernet = search.supernet
        batches = [next(search.alpha) for _ in range(self.batches)]
        mode = supernet.training
        supernet.eval()
        best, least = None, float("inf")
        for _ in range(self.samples):
            for alpha in supernet.arch_parameters():
                alpha.copy_(torch.rand_like(alpha))
            loss = sum(search.task.loss(supernet, batch).item() for batch in batches)
            if loss < least:
                best, least = [a.clone() for a in supernet.arch_parameters()], loss
        for alpha, chosen in zip(supernet.arch_parameters(), best or [], strict=True):
            alpha.copy_(chosen)
        supernet.train(mode)
