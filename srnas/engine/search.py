"""The search: weights and alphas are trained together, then the genotype is derived.

`_search` reads from top to bottom as the algorithm; `SearchStepper` implements the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from srnas.analysis.logs import read_alphas
from srnas.analysis.trajectory import convergence, parameter_free_candidates, summarize
from srnas.choice import ScoreTable
from srnas.cost import expected_macs_per_pixel
from srnas.distributed import start as start_processes
from srnas.engine.checkpoint import Record
from srnas.engine.estimate import Estimate, time_steps, time_validation
from srnas.engine.run import Loop, Run, open_run
from srnas.engine.sampled import check_training, run_sampled, training
from srnas.engine.sessions import versions
from srnas.engine.stepper import SearchStepper
from srnas.engine.train import dry_run as dry_training
from srnas.errors import counted
from srnas.machine import peak_memory
from srnas.options import SearchOptions
from srnas.score_table import open_table
from srnas.spaces import space_class


@dataclass
class SearchRecord(Record):
    """State of a search between epochs.

    Attributes:
        genotype: Choices at the end of the last epoch.
        stable_epochs: Number of epochs for which they have not changed, not counting warm-up.
        val: Summary of the last validation.
        collapsed: Whether parameter-free candidates dominated the last epoch's choices.
    """

    genotype: dict[str, Any] | None = None
    stable_epochs: int = 0
    val: str | None = None
    collapsed: bool = False


def search(
    options: SearchOptions, resume: bool = False, report: Callable[[Path], object] | None = None
) -> Path:
    """Run a search.

    Besides the genotype, the run folder holds alphas.jsonl (logits, probabilities, candidates,
    genotype and expected MACs of every epoch), metrics.jsonl and the checkpoint.

    Args:
        resume: Whether to continue an existing run, to the same result.
        report: Called with the run folder at the end, before another process can have it.

    Returns:
        Path of genotype.json.

    Raises:
        UserError: The options, the images or the run folder do not fit.
        Interrupted: The user asked to stop; the state is saved.
    """
    process = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    score = _open_table(options)
    if options.sampled:
        with open_run("search", options, process, resume, report) as run:
            run_sampled(options, process, run, score)
        return options.folder / "genotype.json"
    stepper = SearchStepper(options, process)
    with open_run("search", options, process, resume, report) as run:
        record = SearchRecord()
        run.batches = (stepper.train_batches, stepper.alpha_batches)
        stepper.shrink_as_before(run.start)
        run.restore({**stepper.states, "notes": record})
        if not _settled(record, options):
            _search(run, stepper, record, score)
    return run.folder / "genotype.json"


def _search(
    run: Run, stepper: SearchStepper, record: SearchRecord, score: ScoreTable | None
) -> None:
    """Take the remaining steps."""
    options = stepper.options
    with run.loop(options.steps) as loop:
        if 0 < options.epochs <= options.warmup_epochs:
            epochs = counted(options.epochs, "epoch")
            loop.warn(f"the alphas rest in all {epochs} (warmup_epochs={options.warmup_epochs})")
        for step in loop:
            stepper.begin(step)
            stepper.rule(stepper, stepper.alpha_moves)

            done = step + 1
            epoch_ends = done % options.steps_per_epoch == 0
            if done % options.log_every == 0 or epoch_ends:
                means = stepper.meter.means()
                row = {"step": done, "epoch": stepper.epoch, **means, **stepper.rates()}
                run.log("metrics.jsonl", row)
                values = [f"{name} {value:.4g}" for name, value in means.items()]
                loop.say("  ".join([record.val, *values] if record.val else values))
            if done == options.steps:
                stepper.rule.finish(stepper)
            if epoch_ends:
                before = record.genotype
                figures = _close_epoch(run, stepper, done, record, score)
                _tell(loop, stepper, record, before)
                _warn_of_collapse(loop, figures, stepper, record)
                if _settled(record, options):
                    settled = counted(record.stable_epochs, "epoch")
                    loop.tell(f"genotype unchanged for {settled}: stopping")
                    loop.stop()
            loop.done(done, {**stepper.states, "notes": record}, checkpoint=epoch_ends)
        _warn_of_no_convergence(loop, run)


def dry_run(options: SearchOptions) -> str:
    """Open everything that a search needs, take a few steps that are not kept, and sum up."""
    if options.sampled:
        one = dry_training(check_training(training(options)))
        return f"{one}\n{counted(options.epochs, 'such training')}"
    process = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    stepper = SearchStepper(options, process, rehearsal=True)
    weights = sum(p.numel() for p in stepper.supernet.weight_parameters())
    choices = stepper.supernet.choices.competing.values()
    task, validated = stepper.task, options.epochs // (options.val_every_epochs or options.epochs)
    lines = [
        f"search      {options.name}, into {options.folder}",
        f"method      {options.from_method or 'as the options say'}",
        f"supernet    {options.space.name}: {counted(weights, 'weight')}, "
        f"{counted(len(choices), 'position')} of "
        f"{' or '.join(map(str, sorted({len(choice.names) for choice in choices})))} "
        "candidates",
        f"images      {stepper.train_batches.count:,} for weights, "
        f"{stepper.alpha_batches.count:,} for alphas, {task.val_count:,} to validate",
        *(f"{name:<12}{text}" for name, text in task.notes),
        f"steps       {options.steps:,}: {counted(options.epochs, 'epoch')} of "
        f"{options.steps_per_epoch:,}, the alphas rest in the first {options.warmup_epochs}",
        f"device      {process.device}, {options.precision}",
    ]
    resting = options.warmup_epochs * options.steps_per_epoch
    resting_time = _time_steps(stepper, 0) if resting else 0.0
    moving = options.steps - min(resting, options.steps)
    moving_time = _time_steps(stepper, resting) if moving else 0.0
    seconds = resting * resting_time + moving * moving_time
    if options.val_every_epochs:
        seconds += validated * time_validation(task, stepper.supernet)
    expected = Estimate(seconds, moving_time or resting_time, peak_memory(process.device))
    return "\n".join([*lines, f"takes       {expected}"])


def _time_steps(stepper: SearchStepper, first: int) -> float:
    """Return the seconds of a step from step `first` on; the steps change the supernet."""

    def step(number: int) -> None:
        stepper.begin(min(first + number, stepper.options.steps - 1))
        stepper.rule(stepper, stepper.alpha_moves)

    return time_steps(step, stepper.process.device)


def _open_table(options: SearchOptions) -> ScoreTable | None:
    """Open the table of the options; its figures are named as in logs."""
    if options.table_file is None:
        return None
    space, table = options.space.name, open_table(options.space.name, options.table_file)
    prefix = space_class(space).table_prefix
    return lambda genotype: {f"{prefix}_{name}": v for name, v in table(genotype).items()}


def _close_epoch(
    run: Run, stepper: SearchStepper, done: int, record: SearchRecord, score: ScoreTable | None
) -> dict[str, float]:
    """Validate, log the alphas and write the genotype; return the figures logged with them."""
    options, supernet, epoch = stepper.options, stepper.supernet, stepper.epoch
    choices = supernet.choices
    every = options.val_every_epochs
    if stepper.task.val_count and every and (epoch + 1) % every == 0:
        quality = stepper.task.validate(supernet)
        values = {f"val_{name}": value for name, value in quality.items()}
        run.log("metrics.jsonl", {"step": done, "epoch": epoch, **values})
        record.val = f"{stepper.task.describe(quality)} (epoch {epoch + 1})"
    provenance = {
        "options": options.model_dump(mode="json", exclude={"device", "threads", "experiments"}),
        "seed": options.seed,
        "step": done,
        "versions": versions(),
    }
    genotype = supernet.genotype(provenance, options.derive_threshold)
    unchanged = genotype.choices == record.genotype and epoch >= options.warmup_epochs
    record.stable_epochs = record.stable_epochs + 1 if unchanged else 0
    record.genotype = genotype.choices
    lists = {
        name: {label: row.tolist() for label, row in rows.items()}
        for name, rows in (("alphas", supernet.alphas), ("probabilities", supernet.probabilities()))
    }
    candidates = {label: choice.names for label, choice in choices.competing.items()}
    row = {
        "step": done,
        "epoch": epoch,
        "genotype": genotype.choices,
        **lists,
        "candidates": candidates,
        "expected_macs_per_pixel": float(expected_macs_per_pixel(supernet)),
    }
    run.log("alphas.jsonl", row)
    operations = {name: {k: rows[k] for k in candidates} for name, rows in lists.items()}
    figures = summarize(
        operations["probabilities"],
        operations["alphas"],
        choices.chosen(choices.strongest(supernet.strengths())),
        parameter_free_candidates(choices),
        candidates,
    )
    figures |= score(genotype) if score else {}
    run.log("metrics.jsonl", {"step": done, "epoch": epoch, **figures})
    if run.process.primary:
        genotype.save(run.folder / "genotype.json")
    return figures


def _settled(record: SearchRecord, options: SearchOptions) -> bool:
    """Return whether the genotype has been stable for the number of epochs in the options."""
    patience = options.stop_after_stable_epochs
    return patience is not None and record.stable_epochs >= patience


def _warn_of_collapse(
    loop: Loop, figures: dict[str, float], stepper: SearchStepper, record: SearchRecord
) -> None:
    """Warn when parameter-free candidates take over, once until they recede.

    Their share among the chosen operations is compared with their share among all candidates, which
    chance would give. More than halfway from there to 1 counts as a collapse.
    """
    choices = stepper.supernet.choices
    free = parameter_free_candidates(choices)
    if not free:
        return
    by_chance = fmean(len(names) / len(choices[label].names) for label, names in free.items())
    share = figures["parameter_free_share"]
    collapsed = stepper.alpha_moves and share > (1 + by_chance) / 2
    if collapsed and not record.collapsed:
        loop.warn(f"{share:.0%} of the chosen operations have no parameters: it is collapsing")
    record.collapsed = collapsed


def _warn_of_no_convergence(loop: Loop, run: Run) -> None:
    rows = read_alphas(run.folder / "alphas.jsonl") if run.process.primary else []
    settled = convergence(rows) if len(rows) > 1 else None  # one epoch is no search
    if settled and not settled.converged:
        same = rows[-1]["epoch"] - settled.epoch
        loop.warn(
            f"the genotype has stayed for the last {same} of {rows[-1]['epoch'] + 1} epochs only: "
            "the search has not converged"
        )


def _tell(
    loop: Loop, stepper: SearchStepper, record: SearchRecord, before: dict[str, Any] | None
) -> None:
    """Tell a genotype that has changed, with how sure it is, and the last epoch's in any case."""
    supernet, epoch = stepper.supernet, stepper.epoch + 1
    last = epoch == stepper.options.epochs
    if record.genotype == before and not last:
        return
    rows = [row for row in supernet.probabilities().values() if len(row) > 1]
    sure = [row.max().item() for row in rows]
    levels = dict.fromkeys(f"{level:.2g}" for level in (min(sure), max(sure)))
    chance = dict.fromkeys(f"{1 / len(row):.2g}" for row in rows)
    loop.tell(
        f"epoch {epoch}: {supernet.genotype(threshold=stepper.options.derive_threshold)}"
        f" (probabilities {' to '.join(levels)}; by chance {' or '.join(chance)})"
    )
    if last and record.val is not None:
        loop.tell(record.val)
