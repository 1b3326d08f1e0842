"""Training of a derived network from scratch, with selection of the best weights by validation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from srnas.choice import Genotype, Space
from srnas.cost import count_parameters
from srnas.distributed import average_gradients, move
from srnas.distributed import start as start_processes
from srnas.engine.checkpoint import Meter, Record, Stateful
from srnas.engine.estimate import Estimate, time_steps, time_validation
from srnas.engine.run import Run, open_run
from srnas.engine.sessions import versions
from srnas.errors import UserError
from srnas.machine import peak_memory
from srnas.model_file import Model, load_model, merged, save_model, warm_start
from srnas.options import TrainOptions
from srnas.primitives.reparameterized import reparameterize_convolutions
from srnas.spaces import derived_network, published_genotype
from srnas.sync_batchnorm import synchronize
from srnas.tasks import Task
from srnas.tasks.base import Batches


@dataclass
class TrainRecord(Record):
    """State of a training with respect to its validations.

    Attributes:
        best: Best score so far, negated if lower scores are better.
        best_step: Step at which it was reached.
        summary: Summary of that validation for the progress line.
        quality: All figures of that validation.
    """

    best: float = float("-inf")
    best_step: int = 0
    summary: str = ""
    quality: dict[str, float] = field(default_factory=dict)


class Trainer:
    """A network in training: its batches, optimizer and moving average.

    Args:
        network: The network, on its device.
        task: The opened task.
        batches: Batches to train on.

    Attributes:
        judged: The network to validate: with `ema` the moving average, otherwise the network.
        states: What a checkpoint needs, by name.
    """

    def __init__(self, options: TrainOptions, network: Space, task: Task, batches: Batches) -> None:
        self.options, self.network, self.task, self.batches = options, network, task, batches
        self.parameters = list(network.parameters())
        self.optimizer = options.optimizer.build(self.parameters)
        self.ema = AveragedModel(network)
        self._weights: list[Tensor] = [*self.parameters]
        self._averages: list[Tensor] = [*self.ema.module.parameters()]
        judged = self.ema.module if options.ema else network
        assert isinstance(judged, Space)
        self.judged = judged
        self.states: dict[str, Stateful] = {
            "network": network,
            "ema": self.ema,
            "optimizer": self.optimizer,
            "data": batches,
        }

    def step(self, step: int) -> Tensor:
        """Take training step number `step`, from 0, and return its loss."""
        options, network = self.options, self.network
        progress = options.progress(step)
        self.optimizer.set_progress(*progress)
        self.task.begin_step(network, *progress)
        self.optimizer.zero_grad()
        loss = self.task.loss(network, next(self.batches))
        loss.backward()
        average_gradients(self.parameters)
        if options.clip_grad_norm:
            nn.utils.clip_grad_norm_(self.parameters, options.clip_grad_norm)
        self.optimizer.step()
        self._average(step)
        return loss

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Take the weights into their moving average, in one call for all of them."""
        if step == 0:
            torch._foreach_copy_(self._averages, self._weights)
        else:
            # Smaller in the first steps, so that the initial weights are soon forgotten.
            decay = min(self.options.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        self.ema.n_averaged += 1

    def settle(self) -> None:
        """Prepare the judged network for validation.

        BatchNorm's running statistics, which are averages already, are copied into the EMA.
        """
        for mine, theirs in zip(self.ema.module.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)


def train(
    options: TrainOptions,
    resume: bool = False,
    genotype: Genotype | None = None,
    report: Callable[[Path], object] | None = None,
) -> Path:
    """Train a network.

    The weights with the best validation score are kept, or the last ones if there are no validation
    images. With `ema` they are the moving average of the weights.

    Args:
        resume: Whether to continue an existing run, to the same result.
        genotype: Genotype to train; by default that of the options or else the space's published
            network.
        report: Called with the run folder at the end, before another process can have it.

    Returns:
        Path of model.safetensors.

    Raises:
        UserError: The options, the images or the run folder do not fit.
        Interrupted: The user asked to stop; the state is saved.
    """
    process = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    genotype, network = _start(options, genotype)
    move(network, process.device)
    if options.sync_batchnorm:
        synchronize(network, process)
    task, (batches,) = options.task.open(options, process, network, ("train",))
    with open_run("train", options, process, resume, report) as run:
        _keep_genotype(genotype, run)
        run.batches = (batches,)
        _train(run, Trainer(options, network, task, batches), genotype)
    return run.folder / "model.safetensors"


def _train(run: Run, trainer: Trainer, genotype: Genotype) -> None:
    """Take the remaining steps."""
    options, task, judged = trainer.options, trainer.task, trainer.judged
    meter, record = Meter(), TrainRecord()
    states = {**trainer.states, "meter": meter, "notes": record}
    run.restore(states)

    with run.loop(options.steps) as loop:
        for step in loop:
            meter.add("loss", trainer.step(step))
            done = step + 1
            validates = done % options.val_every == 0 or done == options.steps
            shows = done % options.log_every == 0 or validates
            if shows:
                means = meter.means()
                run.log("metrics.jsonl", {"step": done, **means, "lr": trainer.optimizer.lr})
            if validates:
                trainer.settle()
                quality = task.validate(judged) if task.val_count else {}
                if quality:
                    run.log("metrics.jsonl", {"step": done, **_prefix("val", quality)})
                if _keeps(quality, task, record, done):
                    model = Model(judged, options.space, genotype, _provenance(trainer, record))
                    if run.process.primary:
                        save_model(run.folder / "model.safetensors", merged(model))
                if quality:
                    before = "" if record.best_step == done else f", best {record.summary}"
                    loop.tell(f"step {done}: {task.describe(quality)}{before}")
            if shows:  # with the validation that this step may have had
                best = [f"best {record.summary}"] if record.summary else []
                loop.say("  ".join([*best, f"loss {means['loss']:.4g}"]))
            if done == options.steps:
                _test(run, task, done)
            loop.done(done, states, checkpoint=validates)


def dry_run(options: TrainOptions) -> str:
    """Open everything that a training needs, take a few steps that are not kept, and sum up."""
    process = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    genotype, network = _start(options)
    lines = [
        f"training    {options.name}, into {options.folder}",
        f"network     {genotype}",
        f"parameters  {count_parameters(network):,}",
    ]
    move(network, process.device)
    if options.sync_batchnorm:
        synchronize(network, process)
    task, (batches,) = options.task.open(options, process, network, ("train",), rehearsal=True)
    lines += [
        f"images      {batches.count:,} to train, {task.val_count:,} to validate",
        *(f"{name:<12}{text}" for name, text in task.notes),
        f"steps       {options.steps:,}",
        f"device      {process.device}, {options.precision}",
    ]
    trainer = Trainer(options, network, task, batches)
    step = time_steps(lambda number: trainer.step(min(number, options.steps - 1)), process.device)
    seconds = step * options.steps
    validations = -(-options.steps // options.val_every)
    seconds += validations * time_validation(task, trainer.judged)
    expected = Estimate(seconds, step, peak_memory(process.device))
    return "\n".join([*lines, f"takes       {expected}"])


def _start(options: TrainOptions, genotype: Genotype | None = None) -> tuple[Genotype, Space]:
    """Return the genotype to train and its network."""
    if genotype is None:
        genotype = _genotype(options)
    return genotype, initial_network(options, genotype)


def initial_network(options: TrainOptions, genotype: Genotype) -> Space:
    """Return the network of a genotype at the start of a training, on the CPU."""
    network = derived_network(options.space, genotype)
    if options.init:
        warm_start(network, options.init, options.space.name, options.init_where_fitting)
    if options.reparameterize:
        reparameterize_convolutions(network, options.reparameterize)
    return network


def _genotype(options: TrainOptions) -> Genotype:
    if isinstance(options.genotype, dict):
        return Genotype(options.space.name, options.genotype)
    if options.genotype:
        return Genotype.load(options.genotype)
    return published_genotype(options.space)


def _keep_genotype(genotype: Genotype, run: Run) -> None:
    """Write the genotype into the run folder; UserError if it holds another one."""
    file = run.folder / "genotype.json"
    if file.exists() and Genotype.load(file) != genotype:
        raise UserError(
            f"{file}: this run trains another genotype than the options now name; "
            "start under another name=..."
        )
    if run.process.primary:
        genotype.save(file)


def _keeps(quality: dict[str, float], task: Task, record: TrainRecord, done: int) -> bool:
    """Return whether these weights are the best so far, and record them if so."""
    score = quality.get(task.score, float("inf")) * (1 if task.higher_is_better else -1)
    if quality and score <= record.best:
        return False
    record.best, record.best_step = score, done
    record.summary = f"{task.describe(quality)} (step {done})" if quality else ""
    record.quality = quality
    return True


def _provenance(trainer: Trainer, record: TrainRecord) -> dict[str, Any]:
    left_out = {"device", "threads", "experiments"}
    return {
        "options": trainer.options.model_dump(mode="json", exclude=left_out),
        "images": [dict(source) for source in trainer.task.sources],
        "step": record.best_step,
        "val": record.quality,
        "versions": versions(),
    }


def _test(run: Run, task: Task, done: int) -> None:
    """Log the kept weights' figures on the test split, if the data has one."""
    if run.process.primary:
        network = load_model(run.folder / "model.safetensors").network
        figures = task.test(network.to(run.process.device))
        if figures:
            run.log("metrics.jsonl", {"step": done, **_prefix("test", figures)})


def _prefix(kind: str, quality: dict[str, float]) -> dict[str, float]:
    return {f"{kind}_{name}": value for name, value in quality.items()}
