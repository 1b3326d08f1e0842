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
from srnas.engine.task import open_splits
from srnas.errors import UserError
from srnas.export.model_file import Model, save_model, warm_start
from srnas.optimizers import OPTIMIZERS
from srnas.options import TrainOptions
from srnas.schedules import build_schedule
from srnas.spaces import derived_network, published_genotype


def train(options: TrainOptions, resume: bool = False) -> Path:
    """Train the genotype of the options (default: the space's published network).

    Returns the path of model.safetensors: the weights (their moving average, if `ema` is on)
    with the best validation PSNR. Raises UserError for the user's mistakes, Interrupted when
    asked to stop; `resume` continues to the same result.
    """
    place = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    genotype, network = _start(options)
    network.to(place.device, memory_format=torch.channels_last)
    task, (patches,) = open_splits(options, place, ("train",))
    run = Run("train", options, place, resume)
    _keep_genotype(genotype, run)
    optimizer = OPTIMIZERS.build(options.optimizer, list(network.parameters()))
    lr = build_schedule(options.optimizer["lr"])
    ema = AveragedModel(network)
    judged = ema.module if options.ema else network
    meter, notes = Meter(), Notes(best_psnr=float("-inf"), best_step=0)
    parts = {
        "network": network,
        "ema": ema,
        "optimizer": optimizer,
        "data": patches,
        "meter": meter,
        "notes": notes,
    }
    run.restore(parts)

    with run.steps(options.steps) as steps:
        for step in steps:
            set_lr(optimizer, lr(step / options.steps))
            optimizer.zero_grad()
            loss = task.loss(network, next(patches))
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
                steps.say(_summary(means["loss"], notes))
            if validates:
                _copy_buffers(network, ema)
                quality = task.validate(judged)
                run.log("metrics.jsonl", {"step": done, **_prefix(quality)})
                if quality["psnr"] > notes.best_psnr:
                    notes.best_psnr, notes.best_step = quality["psnr"], done
                    if place.primary:
                        provenance = {
                            "options": options.model_dump(
                                mode="json", exclude={"device", "threads", "experiments"}
                            ),
                            "step": done,
                            "val": quality,
                            "versions": versions(),
                        }
                        model = Model(judged, options.space, genotype, provenance)
                        save_model(run.folder / "model.safetensors", model)
                steps.say(_summary(means["loss"], notes))
            steps.done(done, parts, checkpoint=validates)
    return run.folder / "model.safetensors"


def dry_run(options: TrainOptions) -> str:
    """Open everything that a training needs, run nothing, and say what was found."""
    genotype, network = _start(options)
    task, (patches,) = open_splits(options, Place(torch.device("cpu")), ("train",))
    return (
        f"# network: {genotype}, {count_parameters(network):,} parameters; images: "
        f"{patches.count} to train, {task.val_count} to validate; {options.steps:,} steps"
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


def _prefix(quality: dict[str, float]) -> dict[str, float]:
    return {f"val_{name}": value for name, value in quality.items()}


def _summary(loss: float, notes: Any) -> str:
    best = (
        f"  val PSNR {notes.best_psnr:.3f} dB (step {notes.best_step})" if notes.best_step else ""
    )
    return f"loss {loss:.5f}{best}"
