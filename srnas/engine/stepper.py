"""The state of a search in progress, and the steps that its update rule can take."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice import RelaxedBuilder, Supernet
from srnas.choice.pruning import prune, shrink
from srnas.choice.widen import Widening
from srnas.distributed import Process, average_gradients, move
from srnas.engine.checkpoint import Meter, Stateful
from srnas.engine.initial import start_from
from srnas.errors import UserError
from srnas.options import SearchOptions
from srnas.regularizers import Regularizer
from srnas.schedules import Schedule
from srnas.search_parts import ShrinkOptions
from srnas.spaces import space_builder
from srnas.sync_batchnorm import synchronize


@dataclass
class Term:
    """A regularizer with the schedule of its weight.

    Attributes:
        name: Name of the regularizer.
        regularizer: The regularizer.
        schedule: Weight over the progress of the run.
        update: When the weight is updated, "epoch" or "step".
        weight: Current weight, scaled by `regularizer_scale`.
    """

    name: str
    regularizer: Regularizer
    schedule: Schedule
    update: str
    weight: float = 0.0


def build_supernet(options: SearchOptions, partial_channels: int | None = None) -> Supernet:
    """Build the supernet that the options describe, freshly initialized.

    Args:
        partial_channels: K, if it differs from the options.
    """
    choose = RelaxedBuilder(
        partial_channels=partial_channels or options.partial_channels,
        affine=options.affine,
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
    """Supernet, data, optimizers and regularizers of a search (a `srnas.updates.rule.Stepper`).

    `begin` sets everything that is scheduled over the run. The update rule, called as
    `rule(stepper, alpha_moves)`, then takes the steps.

    Args:
        rehearsal: Whether it only estimates what the search takes, see `Task.open`.

    Attributes:
        rule: The update rule.
        terms: The regularizers with their weights.
        meter: Means of the losses since the last log row.
        epoch: Current epoch, from 0.
        progress: Progress of the search in [0, 1].
    """

    def __init__(
        self, options: SearchOptions, process: Process, *, rehearsal: bool = False
    ) -> None:
        self.options, self.process = options, process
        self.rule = options.update_rule.build()
        if options.perturbation is not None and self.rule.joint:
            raise UserError(
                f"perturbation: update_rule {options.update_rule.name} moves weights and alphas "
                "together, without a perturbation; choose another update rule"
            )
        self.partial_channels = options.partial_channels
        supernet = build_supernet(options)
        if options.init:
            start_from(supernet, options)
        self.supernet = self._placed(supernet)
        self.task, (self.train_batches, self.alpha_batches) = options.task.open(
            options,
            process,
            self.supernet.network,
            ("train", "alpha"),
            pooled=self.rule.pools_images,
            rehearsal=rehearsal,
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
        """Objects whose states a checkpoint holds, by name."""
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
        """Prepare a step: set learning rates, weights of terms and temperatures, and shrink if due.

        Args:
            step: Number of the step, from 0.
        """
        options = self.options
        self.epoch, self.step_in_epoch = divmod(step, options.steps_per_epoch)
        by_step, by_epoch = step / options.steps, self.epoch / options.epochs
        if self.step_in_epoch == 0:
            for stage in options.shrink:
                if round(stage.at * options.epochs) == self.epoch:
                    shrink(self.supernet, stage.keep)
                    self._widen(stage)
        self.set_epoch(self.epoch)
        self.weight_optimizer.set_progress(by_step, by_epoch)
        self.alpha_optimizer.set_progress(by_step, by_epoch)
        for term in self.terms:
            progress = by_epoch if term.update == "epoch" else by_step
            term.weight = options.regularizer_scale * term.schedule(progress)

    def set_epoch(self, epoch: int) -> None:
        """Set temperatures and the weight of the auxiliary skip for an epoch, counted from 0."""
        epochs = self.options.epochs
        self.progress = epoch / epochs
        skip_weight = self.auxiliary_skip(self.progress) if self.auxiliary_skip else 0.0
        self.supernet.set_progress(self.progress, skip_weight, epoch / max(1, epochs - 1))

    @property
    def alpha_moves(self) -> bool:
        """Whether the alphas move in this epoch: not while the weights warm up."""
        epochs = self.options.epochs
        rests = [(0, self.options.warmup_epochs)]
        rests += [(round(s.at * epochs), round(s.warmup * epochs)) for s in self.options.shrink]
        return not any(start <= self.epoch < start + length for start, length in rests)

    def rates(self) -> dict[str, float]:
        """Return the current learning rates and weights of terms, by name."""
        weights = {f"weight_{term.name}": term.weight for term in self.terms}
        return {"lr": self.weight_optimizer.lr, "alpha_lr": self.alpha_optimizer.lr, **weights}

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of the supernet on a batch."""
        return self.task.loss(self.supernet, batch)

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """Take a weight step on a batch, with `perturbation` if options set it; see `Stepper`."""
        self.weight_optimizer.zero_grad()
        with self._perturbed(batch):
            loss = self.loss(batch)
        inputs = self.supernet.weight_parameters()
        if self._clips_with_alphas:
            self.alpha_optimizer.zero_grad()
            inputs += self.supernet.arch_parameters()
        loss.backward(inputs=inputs)
        return self._move_weights(loss, measure)

    def alpha_step(self, *batches: Any) -> None:
        """Take a first-order step on the alphas; see `Stepper`.

        The batches are differentiated one after the other, so that only one forward pass is held
        in memory.
        """
        self.alpha_optimizer.zero_grad()
        for batch in batches:
            loss = self.loss(batch)
            loss.backward(inputs=self.supernet.arch_parameters())
            if batch is batches[0]:
                self.meter.add("alpha_loss", loss)
        self._move_alphas()

    def alpha_step_along(self, gradients: Sequence[Tensor]) -> None:
        """Take an alpha step with given gradients of the loss; see `Stepper`."""
        for alpha, gradient in zip(self.supernet.arch_parameters(), gradients, strict=True):
            alpha.grad = gradient.clone()
        self._move_alphas()

    def joint_step(self, weight_batch: Any, alpha_batch: Any | None = None) -> None:
        """Move weights and alphas by gradients that are taken at the same point; see `Stepper`."""
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
        """Build the supernet with the number of partial channels that it had after `step` steps.

        A checkpoint can then be loaded into it; the candidates that are still alive are part of the
        checkpoint.
        """
        for stage in self.options.shrink:
            epoch = round(stage.at * self.options.epochs)
            if epoch * self.options.steps_per_epoch < step:
                self._widen(stage)

    @property
    def _clips_with_alphas(self) -> bool:
        return bool(self.options.clip_grad_norm) and self.options.clip_grad_scope != "weights"

    def _move_weights(self, loss: Tensor, measure: bool = False) -> float | None:
        parameters = self.supernet.weight_parameters()
        alphas = self.supernet.arch_parameters() if self._clips_with_alphas else []
        average_gradients([*parameters, *alphas])
        square = None
        if measure:
            gradients = [p.grad for p in parameters if p.grad is not None]
            square = torch.stack([g.square().sum() for g in gradients]).sum().item()
        if self.options.clip_grad_norm:
            kept = [alpha.grad for alpha in alphas]
            for alpha in alphas:
                alpha.grad = None if alpha.grad is None else alpha.grad.clone()
            nn.utils.clip_grad_norm_([*parameters, *alphas], self.options.clip_grad_norm)
            for alpha, gradient in zip(alphas, kept, strict=True):
                alpha.grad = gradient
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
        if self.options.clip_alpha_grad_norm:
            nn.utils.clip_grad_norm_(alphas, self.options.clip_alpha_grad_norm)
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
        wider = self._placed(build_supernet(self.options, stage.partial_channels))
        widening = Widening(self.supernet, wider)
        widening.copy_weights()
        before = (self.weight_optimizer.optimizer, self.alpha_optimizer.optimizer)
        self.supernet = wider
        self._make_optimizers()
        widening.copy_state(before[0], self.weight_optimizer.optimizer)
        widening.copy_state(before[1], self.alpha_optimizer.optimizer)

    def _make_optimizers(self) -> None:
        options = self.options
        self.weight_optimizer = options.weight_optimizer.build(self.supernet.weight_parameters())
        self.alpha_optimizer = options.alpha_optimizer.build(self.supernet.arch_parameters())

    def _placed(self, supernet: Supernet) -> Supernet:
        supernet = move(supernet, self.process.device)
        if self.options.sync_batchnorm:
            synchronize(supernet, self.process, twice=self.rule.differentiates_twice)
        return supernet
