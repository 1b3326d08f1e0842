"""A search in motion: what it holds, and the steps that its update rule can take."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice import Relaxed, Supernet
from srnas.choice.pruning import prune, shrink
from srnas.choice.widen import widen
from srnas.engine.checkpoint import Meter, Stateful
from srnas.engine.distributed import Process, average_gradients, move
from srnas.options import SearchOptions, ShrinkOptions
from srnas.regularizers import Regularizer
from srnas.schedules import Schedule
from srnas.spaces import space_builder


@dataclass
class Term:
    """A regularizer with its weight over the run, updated each epoch or each step."""

    name: str
    regularizer: Regularizer
    schedule: Schedule
    update: str
    weight: float = 0.0


def build_supernet(
    options: SearchOptions, partial_channels: int | None = None, merge: bool = True
) -> Supernet:
    """Build the supernet that the options describe, freshly initialized."""
    choose = Relaxed(
        partial_channels=partial_channels or options.partial_channels,
        affine=options.affine,
        merge=merge,
        edge_normalization=options.edge_normalization,
        auxiliary_skip=options.auxiliary_skip is not None,
        node_norm=options.node_norm,
    )
    return Supernet(
        space_builder(options.space),
        options.space.name,
        choose=choose,
        relaxation=options.relaxation.build(),
        alpha_std=options.alpha_std,
        alpha_init=options.alpha_init,
    )


class SearchStepper:
    """Supernet, images, optimizers and regularizers of a search (a `srnas.updates.Stepper`).

    `begin` sets everything that changes over the run; then the update rule, called as
    `rule(stepper, alpha_moves)`, takes the steps.

    Args:
        supernet: Replaces the one that the options describe.
    """

    def __init__(
        self, options: SearchOptions, process: Process, supernet: Supernet | None = None
    ) -> None:
        self.options, self.process = options, process
        self.rule = options.update.build()
        self.partial_channels = options.partial_channels
        self.supernet = self._placed(supernet or build_supernet(options))
        self.task, (self.train_batches, self.alpha_batches) = options.task.open(
            options,
            process,
            self.supernet.network,
            ("train", "alpha"),
            pooled=self.rule.pools_images,
        )
        self.terms = [
            Term(r.term.name, r.term.build(), r.weight.build(), r.update)
            for r in options.regularizers
        ]
        self.perturb = options.perturbation.build() if options.perturbation else None
        self.auxiliary_skip = options.auxiliary_skip.build() if options.auxiliary_skip else None
        self.meter = Meter()
        self.epoch = self.step_in_epoch = 0
        self.progress = 0.0
        self._make_optimizers()

    @property
    def states(self) -> dict[str, Stateful]:
        """What a checkpoint holds."""
        terms = {
            f"term{index}": term.regularizer
            for index, term in enumerate(self.terms)
            if term.regularizer.stateful
        }
        return {
            "supernet": self.supernet,
            "weight_optimizer": self.weight_optimizer,
            "alpha_optimizer": self.alpha_optimizer,
            "rule": self.rule,
            "train": self.train_batches,
            "alpha": self.alpha_batches,
            "meter": self.meter,
            **terms,
        }

    def begin(self, step: int) -> None:
        """Set epoch, learning rates, weights of terms, temperatures; shrink when it is time."""
        options = self.options
        self.epoch, self.step_in_epoch = divmod(step, options.steps_per_epoch)
        by_step, by_epoch = step / options.steps, self.epoch / options.epochs
        if self.step_in_epoch == 0:
            for stage in options.shrink:
                if round(stage.at * options.epochs) == self.epoch:
                    shrink(self.supernet, stage.keep)
                    self._widen(stage)
        self.set_progress(by_epoch)
        self.weight_optimizer.set_progress(by_step)
        self.alpha_optimizer.set_progress(by_step)
        for term in self.terms:
            progress = by_epoch if term.update == "epoch" else by_step
            term.weight = options.regularizer_scale * term.schedule(progress)

    def set_progress(self, progress: float) -> None:
        """Set the progress of the search, in [0, 1], for temperatures and the auxiliary skip."""
        self.progress = progress
        skip_weight = self.auxiliary_skip(progress) if self.auxiliary_skip else 0.0
        self.supernet.set_progress(progress, skip_weight)

    @property
    def alpha_moves(self) -> bool:
        """Whether the alphas move in this epoch: not while the weights warm up."""
        epochs = self.options.epochs
        rests = [(0, self.options.warmup_epochs)]
        rests += [(round(s.at * epochs), round(s.warmup * epochs)) for s in self.options.shrink]
        return not any(start <= self.epoch < start + length for start, length in rests)

    def rates(self) -> dict[str, float]:
        """Return the learning rates and weights of terms in force."""
        weights = {f"weight_{term.name}": term.weight for term in self.terms}
        return {"lr": self.weight_optimizer.lr, "alpha_lr": self.alpha_optimizer.lr, **weights}

    def loss(self, batch: Any) -> Tensor:
        """Return the supernet's loss on a batch."""
        return self.task.loss(self.supernet, batch)

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """Descend on the loss of a batch with respect to the weights; see `Stepper`."""
        self.weight_optimizer.zero_grad()
        with self._perturbed(batch):
            loss = self.loss(batch)
        loss.backward(inputs=self.supernet.weight_parameters())
        return self._move_weights(loss, measure)

    def alpha_step(self, *batches: Any) -> None:
        """Descend on the batches' losses plus the weighted terms with respect to the alphas.

        First order: the weights count as constants. Each batch is differentiated by itself, so
        that only one pass is held in memory.
        """
        self.alpha_optimizer.zero_grad()
        for batch in batches:
            loss = self.loss(batch)
            loss.backward(inputs=self.supernet.arch_parameters())
            if batch is batches[0]:
                self.meter.add("alpha_loss", loss)
        self._move_alphas()

    def alpha_step_along(self, gradients: Sequence[Tensor]) -> None:
        """Take an alpha step with the gradients of the losses given, one an alpha."""
        for alpha, gradient in zip(self.supernet.arch_parameters(), gradients, strict=True):
            alpha.grad = gradient.clone()
        self._move_alphas()

    def joint_step(self, weight_batch: Any, alpha_batch: Any | None = None) -> None:
        """Move weights and alphas by gradients taken at one point.

        Without a batch of their own the alphas' gradient comes from the weights' pass.
        """
        weights, alphas = self.supernet.weight_parameters(), self.supernet.arch_parameters()
        self.weight_optimizer.zero_grad()
        self.alpha_optimizer.zero_grad()
        loss = self.loss(weight_batch)
        if alpha_batch is None:
            loss.backward(inputs=[*weights, *alphas])
        else:
            loss.backward(inputs=weights)
            self.loss(alpha_batch).backward(inputs=alphas)
        self._move_weights(loss)
        self._move_alphas()

    def shrink_as_before(self, step: int) -> None:
        """Give the supernet the shape that it had when `step` steps were done."""
        for stage in self.options.shrink:
            epoch = round(stage.at * self.options.epochs)
            if epoch * self.options.steps_per_epoch < step:
                self._widen(stage)

    def _move_weights(self, loss: Tensor, measure: bool = False) -> float | None:
        parameters = self.supernet.weight_parameters()
        average_gradients(parameters)
        square = None
        if measure:
            gradients = [p.grad for p in parameters if p.grad is not None]
            square = torch.stack([g.square().sum() for g in gradients]).sum().item()
        if self.options.clip_grad_norm:
            nn.utils.clip_grad_norm_(parameters, self.options.clip_grad_norm)
        self.weight_optimizer.step()
        if self.supernet.relaxation.prunes:
            prune(self.supernet)
        self.meter.add("loss", loss)
        return square

    def _move_alphas(self) -> None:
        alphas = self.supernet.arch_parameters()
        for term in self.terms:
            value = term.regularizer(self.supernet)
            if value.requires_grad:
                (term.weight * value).backward(inputs=alphas)
            self.meter.add(term.name, value)
        average_gradients(alphas)
        self.alpha_optimizer.step()
        for term in self.terms:
            term.regularizer.alphas_moved(self.supernet)

    def _perturbed(self, batch: Any) -> AbstractContextManager[None]:
        if self.perturb is None:
            return nullcontext()
        deltas = self.perturb(self.supernet, lambda: self.loss(batch), self.progress)
        return self.supernet.perturbed(deltas)

    def _widen(self, stage: ShrinkOptions) -> None:
        if stage.partial_channels in (None, self.partial_channels):
            return
        self.partial_channels = stage.partial_channels
        wider = build_supernet(self.options, stage.partial_channels)
        self.supernet = self._placed(widen(self.supernet, wider))
        self._make_optimizers()

    def _make_optimizers(self) -> None:
        options = self.options
        self.weight_optimizer = options.weight_optimizer.build(self.supernet.weight_parameters())
        self.alpha_optimizer = options.alpha_optimizer.build(self.supernet.arch_parameters())

    def _placed(self, supernet: Supernet) -> Supernet:
        return move(supernet, self.process.device)
