"""Training of a derived network from scratch; the validation split picks the best weights."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srnas.choice import Genotype
from srnas.cost import count_parameters
from srnas.engine.distributed import Place, average_gradients
from srnas.engine.distributed import start as start_processes
from srnas.engine.run import Meter, Notes, Run
from srnas.engine.search import versions
from srnas.engine.search_state import set_lr
from srnas.engine.task import Task, open_task
from srnas.errors import UserError
from srnas.export.model_file import Model, load_model, save_model, warm_start
from srnas.optimizers import OPTIMIZERS
from srnas.options import TrainOptions
from srnas.schedules import build_schedule
from srnas.spaces import derived_network, published_genotype


def train(options: TrainOptions, resume: bool = False) -> Path:
    """Train the genotype of the options (default: the space's published network).

    Returns the path of model.safetensors: the weights (their moving average, if `ema` is on)
    with the best validation, the last ones without validation images. Raises UserError for the
    user's mistakes, Interrupted when asked to stop; `resume` continues to the same result.
    """
    place = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    genotype, network = _start(options)
    network.to(place.device, memory_format=torch.channels_last)
    task, (batches,) = open_task(options, place, ("train",))
    if options.drop_path and not hasattr(network, "drop_path_prob"):
        raise UserError(f"drop_path: space {options.space['name']!r} has no paths to drop")
    run = Run("train", options, place, resume)
    _keep_genotype(genotype, run)
    optimizer = OPTIMIZERS.build(options.optimizer, list(network.parameters()))
    lr = build_schedule(options.optimizer["lr"])
    drop_path = build_schedule(options.drop_path) if options.drop_path else None
    ema = AveragedModel(network)
    judged = ema.module if options.ema else network
    meter, notes = Meter(), Notes(best=float("-inf"), best_step=0, told="")
    parts = {
        "network": network,
        "ema": ema,
        "optimizer": optimizer,
        "data": batches,
        "meter": meter,
        "notes": notes,
    }
    run.restore(parts)

    with run.steps(options.steps) as steps:
        for step in steps:
            set_lr(optimizer, lr(step / options.steps))
            if drop_path:
                network.drop_path_prob = drop_path(step / options.steps)
            optimizer.zero_grad()
            loss = task.loss(network, next(batches))
            loss.backward()
            parameters = list(network.parameters())
            average_gradients(parameters)
            if options.clip_grad_norm:
                nn.utils.clip_grad_norm_(parameters, options.clip_grad_norm)
            optimizer.step()
            ema.multi_avg_fn = get_ema_multi_avg_fn(_ema_decay(step, options.ema))
            ema.update_parameters(network)
            meter.add("loss", loss)

            done = step + 1
            validates = done % options.val_every == 0 or done == options.steps
            if done % options.log_every == 0 or validates:
                means = meter.means()
                rate = optimizer.param_groups[0]["lr"]
                run.log("metrics.jsonl", {"step": done, **means, "lr": rate})
                steps.say(f"loss {means['loss']:.5f}  {notes.told}")
            if validates:
                _copy_buffers(network, ema)
                quality = task.validate(judged) if task.val_count else {}
                if quality:
                    run.log("metrics.jsonl", {"step": done, **_prefix("val", quality)})
                if _keeps(quality, task, notes, done):
                    model = Model(judged, options.space, genotype, _provenance(options, notes))
                    _save(run, model)
                steps.say(f"loss {means['loss']:.5f}  {notes.told}")
            if done == options.steps:
                _test(run, task, done)
            steps.done(done, parts, checkpoint=validates)
    return run.folder / "model.safetensors"


def dry_run(options: TrainOptions) -> str:
    """Open everything that a training needs, run nothing, and say what was found."""
    genotype, network = _start(options)
    task, (batches,) = open_task(options, Place(torch.device("cpu")), ("train",))
    return (
        f"# network: {genotype}, {count_parameters(network):,} parameters; images: "
        f"{batches.count} to train, {task.val_count} to validate; {options.steps:,} steps"
    )


def _start(options: TrainOptions) -> tuple[Genotype, nn.Module]:
    """The genotype and its network, fresh or with the weights of `init`."""
    genotype = (
        Genotype.load(options.genotype)
        if options.genotype
        else published_genotype(options.space["name"])
    )
    network = derived_network(options.space, genotype)
    if options.init:
        warm_start(network, options.init, options.space)
    return genotype, network


def _keep_genotype(genotype: Genotype, run: Run) -> None:
    """Write the genotype into the run's folder; UserError if another one lies there."""
    file = run.folder / "genotype.json"
    if file.exists() and Genotype.load(file) != genotype:
        raise UserError(
            f"{file}: this run trains another genotype than {run.options.genotype} now holds; "
            "start under another name=..."
        )
    if run.place.primary:
        genotype.save(file)


def _ema_decay(step: int, decay: float) -> float:
    """Shorter averages at the start, so that the initial weights are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


def _copy_buffers(network: nn.Module, ema: AveragedModel) -> None:
    """BatchNorm's running statistics are averages already: the EMA takes them as they are."""
    for mine, theirs in zip(ema.module.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)


def _keeps(quality: dict[str, float], task: Task, notes: Any, done: int) -> bool:
    """Whether these weights are the ones to keep, which the notes then tell of."""
    score = quality.get(task.score, float("inf"))
    if quality and score <= notes.best:
        return False
    notes.best, notes.best_step = score, done
    notes.told = f"{task.describe(quality)} (step {done})" if quality else ""
    notes.quality = quality
    return True


def _provenance(options: TrainOptions, notes: Any) -> dict[str, Any]:
    return {
        "options": options.model_dump(mode="json", exclude={"device", "threads", "experiments"}),
        "step": notes.best_step,
        "val": notes.quality,
        "versions": versions(),
    }


def _save(run: Run, model: Model) -> None:
    if run.place.primary:
        save_model(run.folder / "model.safetensors", model)


def _test(run: Run, task: Task, done: int) -> None:
    """The kept weights on the data's test split, if it has one."""
    if run.place.primary:
        network = load_model(run.folder / "model.safetensors").network
        figures = task.test(network.to(run.place.device))
        if figures:
            run.log("metrics.jsonl", {"step": done, **_prefix("test", figures)})


def _prefix(kind: str, quality: dict[str, float]) -> dict[str, float]:
    return {f"{kind}_{name}": value for name, value in quality.items()}
