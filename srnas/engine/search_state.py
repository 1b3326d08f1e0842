"""The state of a search and its kinds of step; the update rule calls them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from srnas.choice import RELAXATIONS, Supernet
from srnas.choice.widen import widen
from srnas.engine.distributed import Place, average_gradients
from srnas.engine.run import Meter
from srnas.engine.task import open_task
from srnas.optimizers import OPTIMIZERS
from srnas.options import SearchOptions, ShrinkOptions
from srnas.perturbations import PERTURBATIONS
from srnas.regularizers import REGULARIZERS
from srnas.schedules import Schedule, build_schedule
from srnas.spaces import space_builder
from srnas.updates import UPDATES


class Term(NamedTuple):
    """A regularizer with its weight over the run, updated each epoch or each step."""

    name: str
    value: Any
    weight: Schedule
    update: str


def build_supernet(
    options: SearchOptions, partial_channels: int | None = None, merge: bool = True
) -> Supernet:
    """The supernet that the options describe, freshly initialized."""
    return Supernet(
        space_builder(options.space),
        options.space["name"],
        RELAXATIONS.build(options.relaxation),
        partial_channels or options.partial_channels,
        options.affine,
        merge,
        options.alpha_std,
        options.edge_normalization,
        options.auxiliary_skip is not None,
        options.alpha_init,
        options.node_norm,
    )


class Search:
    """Supernet, data, optimizers, terms. `begin` sets all that changes over the run; then the
    update rule, `rule(state, alpha_moves)`, takes the steps.

    supernet: instead of the one that the options describe.
    """

    def __init__(
        self, options: SearchOptions, place: Place, supernet: Supernet | None = None
    ) -> None:
        self.options, self.place = options, place
        self.rule = UPDATES.build(options.update)
        self.partial_channels = options.partial_channels
        self.supernet = self._placed(supernet or build_supernet(options))
        self.task, (self.train, self.alpha) = open_task(
            options, place, ("train", "alpha"), pooled=self.rule.pools_images
        )
        self.terms = [
            Term(r.term["name"], REGULARIZERS.build(r.term), build_schedule(r.weight), r.update)
            for r in options.regularizers
        ]
        self.term_weights = [0.0 for _ in self.terms]
        self.perturb = PERTURBATIONS.build(options.perturbation) if options.perturbation else None
        self.auxiliary = build_schedule(options.auxiliary_skip) if options.auxiliary_skip else None
        self.weight_lr = build_schedule(options.weight_optimizer["lr"])
        self.alpha_lr = build_schedule(options.alpha_optimizer["lr"])
        self.meter = Meter()
        self.epoch = self.step_in_epoch = 0
        self.progress = 0.0
        self._make_optimizers()

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        stateful = {
            f"term{index}": term.value
            for index, term in enumerate(self.terms)
            if hasattr(term.value, "state_dict")
        }
        return {
            "supernet": self.supernet,
            "weight_optimizer": self.weight_optimizer,
            "alpha_optimizer": self.alpha_optimizer,
            "rule": self.rule,
            "train": self.train,
            "alpha": self.alpha,
            "meter": self.meter,
            **stateful,
        }

    def begin(self, step: int) -> None:
        """Set epoch, learning rates, term weights, temperatures; shrink when it is time."""
        options = self.options
        self.epoch, self.step_in_epoch = divmod(step, options.steps_per_epoch)
        by_step, by_epoch = step / options.steps, self.epoch / options.epochs
        if self.step_in_epoch == 0:
            for shrink in options.shrink:
                if round(shrink.at * options.epochs) == self.epoch:
                    self._shrink(shrink)
        self.set_progress(by_epoch)
        set_lr(self.weight_optimizer, self.weight_lr(by_step))
        set_lr(self.alpha_optimizer, self.alpha_lr(by_step))
        self.term_weights = [
            options.regularizer_scale * term.weight(by_epoch if term.update == "epoch" else by_step)
            for term in self.terms
        ]

    def set_progress(self, progress: float) -> None:
        """How far the search is, in [0, 1]: temperatures and the auxiliary skip go by it."""
        self.progress = progress
        self.supernet.set_progress(progress, self.auxiliary(progress) if self.auxiliary else 0.0)

    @property
    def alpha_moves(self) -> bool:
        """Whether the alphas move in this epoch: not while they warm up."""
        epochs = self.options.epochs
        rests = [(0, self.options.warmup_epochs)]
        rests += [(round(s.at * epochs), round(s.warmup * epochs)) for s in self.options.shrink]
        return not any(start <= self.epoch < start + length for start, length in rests)

    def rates(self) -> dict[str, float]:
        """Learning rates and term weights in force."""
        weights = {
            f"weight_{term.name}": weight
            for term, weight in zip(self.terms, self.term_weights, strict=True)
        }
        return {
            "lr": self.weight_optimizer.param_groups[0]["lr"],
            "alpha_lr": self.alpha_optimizer.param_groups[0]["lr"],
            **weights,
        }

    def loss(self, batch: Any) -> Tensor:
        """The supernet's loss on a batch."""
        return self.task.loss(self.supernet, batch)

    def weight_step(self, batch: Any, measure: bool = False) -> float | None:
        """Descend on the loss of a batch with respect to the weights.

        measure: return the squared norm of the gradient, before it is clipped.
        """
        self.weight_optimizer.zero_grad()
        with self._perturbed(batch):
            loss = self.loss(batch)
        loss.backward(inputs=self.supernet.weight_parameters())
        return self._move_weights(loss, measure)

    def alpha_step(self, *batches: Any) -> None:
        """Descend on the batches' losses plus the weighted terms with respect to the alphas.

        First order: the weights count as constants. Each batch is differentiated by itself,
        so that only one pass is held in memory.
        """
        self.alpha_optimizer.zero_grad()
        for batch in batches:
            loss = self.loss(batch)
            loss.backward(inputs=self.supernet.arch_parameters())
            if batch is batches[0]:
                self.meter.add("alpha_loss", loss)
        self._move_alphas()

    def alpha_step_along(self, gradients: Sequence[Tensor]) -> None:
        """The same with the gradients of the losses given, one an alpha."""
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
        for shrink in self.options.shrink:
            epoch = round(shrink.at * self.options.epochs)
            if epoch * self.options.steps_per_epoch < step:
                self._widen(shrink)

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
            self.supernet.prune()
        self.meter.add("loss", loss)
        return square

    def _move_alphas(self) -> None:
        alphas = self.supernet.arch_parameters()
        for term, weight in zip(self.terms, self.term_weights, strict=True):
            value = term.value(self.supernet)
            if value.requires_grad:
                (weight * value).backward(inputs=alphas)
            self.meter.add(term.name, value)
        average_gradients(alphas)
        self.alpha_optimizer.step()
        for term in self.terms:
            if hasattr(term.value, "alphas_moved"):
                term.value.alphas_moved(self.supernet)

    def _perturbed(self, batch: Any) -> AbstractContextManager[None]:
        if self.perturb is None:
            return nullcontext()
        deltas = self.perturb(self.supernet, lambda: self.loss(batch), self.progress)
        return self.supernet.perturbed(deltas)

    def _shrink(self, to: ShrinkOptions) -> None:
        self.supernet.shrink(to.keep)
        self._widen(to)

    def _widen(self, to: ShrinkOptions) -> None:
        if to.partial_channels in (None, self.partial_channels):
            return
        self.partial_channels = to.partial_channels
        wider = build_supernet(self.options, to.partial_channels)
        self.supernet = self._placed(widen(self.supernet, wider))
        self._make_optimizers()

    def _make_optimizers(self) -> None:
        self.weight_optimizer = OPTIMIZERS.build(
            self.options.weight_optimizer, self.supernet.weight_parameters()
        )
        self.alpha_optimizer = OPTIMIZERS.build(
            self.options.alpha_optimizer, self.supernet.arch_parameters()
        )

    def _placed(self, supernet: Supernet) -> Supernet:
        return supernet.to(self.place.device, memory_format=torch.channels_last)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr
