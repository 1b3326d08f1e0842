"""The search: weights and alphas in turn, until the genotype is read off.

`search` reads from top to bottom as the algorithm; `Search` holds the two kinds of step.
"""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import srnas
from srnas.choice import RELAXATIONS, Supernet
from srnas.cost import expected_macs_per_pixel
from srnas.data.patches import Batch
from srnas.engine.distributed import Place, average_gradients
from srnas.engine.distributed import start as start_processes
from srnas.engine.run import Meter, Notes, Run
from srnas.engine.task import Patches, SuperResolution, open_splits
from srnas.losses import LOSSES
from srnas.options import AdamOptions, SearchOptions
from srnas.regularizers import REGULARIZERS
from srnas.schedules import Schedule, build_schedule
from srnas.spaces import space_builder
from srnas.updates import UPDATES


class Term(NamedTuple):
    """A regularizer with its weight over the run, updated each epoch or each step."""

    name: str
    value: Callable[[Supernet], Tensor]
    weight: Schedule
    update: str


def search(options: SearchOptions, resume: bool = False) -> Path:
    """Run a search; returns the path of its genotype.json.

    The run folder also holds alphas.jsonl (every epoch: logits, genotype, expected MACs),
    metrics.jsonl and the checkpoint. Raises UserError for the user's mistakes, Interrupted
    when asked to stop; `resume` continues to the same result.
    """
    place = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    supernet = build_supernet(options).to(place.device, memory_format=torch.channels_last)
    task, train, alpha = open_data(options, place)
    run = Run("search", options, place, resume)
    state = Search(supernet, task, train, alpha, options)
    rule = UPDATES.build(options.update)
    notes = Notes(genotype=supernet.genotype().choices, stable_epochs=0, val_psnr=None)
    parts = {**state.parts, "train": train, "alpha": alpha, "notes": notes}
    run.restore(parts)
    if _settled(notes, options):
        return run.folder / "genotype.json"

    with run.steps(options.steps, parts) as steps:
        for step in steps:
            epoch = step // options.steps_per_epoch
            state.set_progress(step / options.steps, epoch / options.epochs)
            rule(state, alpha_moves=epoch >= options.warmup_epochs)

            done = step + 1
            epoch_ends = done % options.steps_per_epoch == 0
            if done % options.log_every == 0 or epoch_ends:
                means = state.meter.means()
                run.log("metrics.jsonl", {"step": done, "epoch": epoch, **means, **state.rates()})
                steps.say(_summary(means, notes, supernet))
            if epoch_ends:
                _close_epoch(run, supernet, task, options, done, epoch, notes)
                if _settled(notes, options):
                    steps.say(f"genotype unchanged for {notes.stable_epochs} epochs: stopping")
                    steps.stop()
            steps.done(done, checkpoint=epoch_ends)
    return run.folder / "genotype.json"


def dry_run(options: SearchOptions) -> str:
    """Open everything that a search needs, run nothing, and say what was found."""
    supernet = build_supernet(options)
    task, train, alpha = open_data(options, Place(torch.device("cpu")))
    weights = sum(p.numel() for p in supernet.weight_parameters())
    return (
        f"# supernet: {weights:,} weights, {len(supernet.positions)} positions; images: "
        f"{train.count} for weights, {alpha.count} for alphas, {len(task.val)} to "
        f"validate; {options.steps:,} steps"
    )


def build_supernet(options: SearchOptions) -> Supernet:
    """The supernet that the options describe, freshly initialized."""
    return Supernet(
        space_builder(options.space),
        options.space["name"],
        RELAXATIONS.build(options.relaxation),
        options.partial_channels,
        options.affine,
        alpha_std=options.alpha_std,
    )


class Search:
    """The state of a search and its two kinds of step; the update rule calls them."""

    def __init__(
        self,
        supernet: Supernet,
        task: SuperResolution,
        train: Patches,
        alpha: Patches,
        options: SearchOptions,
    ) -> None:
        self.supernet, self.task = supernet, task
        self.train, self.alpha = train, alpha
        self.clip = options.clip_grad_norm
        self.weight_optimizer = adam(supernet.weight_parameters(), options.weight_optimizer)
        self.alpha_optimizer = adam(supernet.arch_parameters(), options.alpha_optimizer)
        self.weight_lr = build_schedule(options.weight_optimizer.lr)
        self.alpha_lr = build_schedule(options.alpha_optimizer.lr)
        self.terms = [
            Term(r.term["name"], REGULARIZERS.build(r.term), build_schedule(r.weight), r.update)
            for r in options.regularizers
        ]
        self.term_weights: list[float] = []
        self.meter = Meter()
        self.parts = {
            "supernet": supernet,
            "weight_optimizer": self.weight_optimizer,
            "alpha_optimizer": self.alpha_optimizer,
            "meter": self.meter,
        }

    def set_progress(self, by_step: float, by_epoch: float) -> None:
        """Set learning rates and term weights for progress in [0, 1]."""
        set_lr(self.weight_optimizer, self.weight_lr(by_step))
        set_lr(self.alpha_optimizer, self.alpha_lr(by_step))
        self.term_weights = [
            term.weight(by_epoch if term.update == "epoch" else by_step) for term in self.terms
        ]

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

    def weight_step(self, batch: Batch) -> None:
        """Descend on the loss of a batch with respect to the weights."""
        parameters = self.supernet.weight_parameters()
        self.weight_optimizer.zero_grad()
        loss = self.task.loss(self.supernet, batch)
        loss.backward(inputs=parameters)
        average_gradients(parameters)
        if self.clip:
            nn.utils.clip_grad_norm_(parameters, self.clip)
        self.weight_optimizer.step()
        self.meter.add("loss", loss)

    def alpha_step(self, *batches: Batch) -> None:
        """Descend on the batches' losses plus the weighted terms with respect to the alphas.

        First order: the weights count as constants. Each batch is differentiated by itself,
        so that only one pass is held in memory.
        """
        parameters = self.supernet.arch_parameters()
        self.alpha_optimizer.zero_grad()
        for batch in batches:
            loss = self.task.loss(self.supernet, batch)
            loss.backward(inputs=parameters)
            if batch is batches[0]:
                self.meter.add("alpha_loss", loss)
        for term, weight in zip(self.terms, self.term_weights, strict=True):
            value = term.value(self.supernet)
            if value.requires_grad:
                (weight * value).backward(inputs=parameters)
            self.meter.add(term.name, value)
        average_gradients(parameters)
        self.alpha_optimizer.step()


def adam(parameters: Sequence[nn.Parameter], options: AdamOptions) -> torch.optim.Adam:
    """torch's Adam; the learning rate is set before every step."""
    return torch.optim.Adam(
        parameters, betas=tuple(options.betas), weight_decay=options.weight_decay
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "srnas": srnas.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def open_data(options: SearchOptions, place: Place) -> tuple[SuperResolution, Patches, Patches]:
    """The task, and the batches for the weights and for the alphas."""
    task, (train, alpha) = open_splits(
        options.space["scale"],
        LOSSES.build(options.loss),
        options.data,
        place,
        options.seed,
        options.precision,
        ("train", "alpha"),
    )
    return task, train, alpha


def _close_epoch(
    run: Run,
    supernet: Supernet,
    task: SuperResolution,
    options: SearchOptions,
    done: int,
    epoch: int,
    notes: Notes,
) -> None:
    every = options.val_every_epochs
    if task.val and every and (epoch + 1) % every == 0:
        quality = task.validate(supernet)
        values = {f"val_{name}": value for name, value in quality.items()}
        run.log("metrics.jsonl", {"step": done, "epoch": epoch, **values})
        notes.val_psnr = quality["psnr"]
    provenance = {
        "options": options.model_dump(mode="json", exclude={"device", "threads", "experiments"}),
        "seed": options.seed,
        "step": done,
        "versions": versions(),
    }
    genotype = supernet.genotype(provenance)
    unchanged = genotype.choices == notes.genotype and epoch >= options.warmup_epochs
    notes.stable_epochs = notes.stable_epochs + 1 if unchanged else 0
    notes.genotype = genotype.choices
    row = {
        "step": done,
        "epoch": epoch,
        "genotype": genotype.choices,
        "alphas": {label: alpha.tolist() for label, alpha in supernet.alphas.items()},
        "candidates": {label: list(p.candidates) for label, p in supernet.positions.items()},
        "expected_macs_per_pixel": float(expected_macs_per_pixel(supernet)),
    }
    run.log("alphas.jsonl", row)
    if run.place.primary:
        genotype.save(run.folder / "genotype.json")


def _settled(notes: Notes, options: SearchOptions) -> bool:
    """Whether the genotype has stayed for as many epochs as the options ask for."""
    patience = options.stop_after_stable_epochs
    return patience is not None and notes.stable_epochs >= patience


def _summary(means: dict[str, float], notes: Notes, supernet: Supernet) -> str:
    values = [f"{name} {value:.4g}" for name, value in means.items()]
    if notes.val_psnr is not None:
        values.append(f"val PSNR {notes.val_psnr:.2f} dB")
    return "  ".join([*values, str(supernet.genotype())])
