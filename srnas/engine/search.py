"""The search: weights and alphas move until the genotype is read off.

`search` reads from top to bottom as the algorithm; `search_state.Search` holds the kinds of step.
"""

import platform
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import srnas
from srnas.analysis.nasbench201 import load_table
from srnas.analysis.trajectory import convergence, parameter_free_candidates, summarize
from srnas.choice import Supernet
from srnas.cost import expected_macs_per_pixel
from srnas.engine.distributed import Place
from srnas.engine.distributed import start as start_processes
from srnas.engine.run import Notes, Run
from srnas.engine.search_state import Search
from srnas.files import read_json_lines
from srnas.options import SearchOptions


def search(options: SearchOptions, resume: bool = False) -> Path:
    """Run a search; returns the path of its genotype.json.

    The run folder also holds alphas.jsonl (every epoch: logits, probabilities, genotype,
    expected MACs), metrics.jsonl and the checkpoint. Raises UserError for the user's mistakes,
    Interrupted when asked to stop; `resume` continues to the same result.
    """
    place = start_processes(options.device, options.threads)
    torch.manual_seed(options.seed)
    state = Search(options, place)
    table = load_table(options.nb201_table) if options.nb201_table else {}
    run = Run("search", options, place, resume)
    notes = Notes(genotype=None, stable_epochs=0, val=None, collapsed=False)
    state.shrink_as_before(run.start)
    run.restore({**state.parts, "notes": notes})
    if _settled(notes, options):
        return run.folder / "genotype.json"

    with run.steps(options.steps) as steps:
        for step in steps:
            state.begin(step)
            state.rule(state, state.alpha_moves)

            done = step + 1
            epoch_ends = done % options.steps_per_epoch == 0
            if done % options.log_every == 0 or epoch_ends:
                means = state.meter.means()
                row = {"step": done, "epoch": state.epoch, **means, **state.rates()}
                run.log("metrics.jsonl", row)
                steps.say(_summary(means, notes, state.supernet))
            if done == options.steps:
                state.rule.finish(state)
            if epoch_ends:
                figures = _close_epoch(run, state, done, notes, table)
                _warn_of_collapse(steps, figures, state, notes)
                if _settled(notes, options):
                    steps.say(f"genotype unchanged for {notes.stable_epochs} epochs: stopping")
                    steps.stop()
            steps.done(done, {**state.parts, "notes": notes}, checkpoint=epoch_ends)
        _warn_of_no_convergence(steps, run)
    return run.folder / "genotype.json"


def dry_run(options: SearchOptions) -> str:
    """Open everything that a search needs, run nothing, and say what was found."""
    state = Search(options, Place(torch.device("cpu")))
    weights = sum(p.numel() for p in state.supernet.weight_parameters())
    return (
        f"# supernet: {weights:,} weights, {len(state.supernet.positions)} positions; images: "
        f"{state.train.count} for weights, {state.alpha.count} for alphas, {state.task.val_count} "
        f"to validate; {options.steps:,} steps"
    )


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "srnas": srnas.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _close_epoch(
    run: Run, state: Search, done: int, notes: Notes, table: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Validate, look at the alphas, write the genotype; the figures of `summarize`."""
    options, supernet, epoch = state.options, state.supernet, state.epoch
    every = options.val_every_epochs
    if state.task.val_count and every and (epoch + 1) % every == 0:
        quality = state.task.validate(supernet)
        values = {f"val_{name}": value for name, value in quality.items()}
        run.log("metrics.jsonl", {"step": done, "epoch": epoch, **values})
        notes.val = state.task.describe(quality)
    provenance = {
        "options": options.model_dump(mode="json", exclude={"device", "threads", "experiments"}),
        "seed": options.seed,
        "step": done,
        "versions": versions(),
    }
    genotype = supernet.genotype(provenance, options.derive_threshold)
    unchanged = genotype.choices == notes.genotype and epoch >= options.warmup_epochs
    notes.stable_epochs = notes.stable_epochs + 1 if unchanged else 0
    notes.genotype = genotype.choices
    lists = {
        name: {label: row.tolist() for label, row in rows.items()}
        for name, rows in (("alphas", supernet.alphas), ("probabilities", supernet.probabilities()))
    }
    candidates = {label: list(p.candidates) for label, p in supernet.positions.items()}
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
        supernet.chosen_operations(),
        parameter_free_candidates(supernet.positions),
        candidates,
    )
    found = table.get(genotype.choices.get("cell"), {})
    figures |= {f"nb201_{dataset}": accuracy for dataset, accuracy in found.items()}
    run.log("metrics.jsonl", {"step": done, "epoch": epoch, **figures})
    if run.place.primary:
        genotype.save(run.folder / "genotype.json")
    return figures


def _settled(notes: Notes, options: SearchOptions) -> bool:
    """Whether the genotype has stayed for as many epochs as the options ask for."""
    patience = options.stop_after_stable_epochs
    return patience is not None and notes.stable_epochs >= patience


def _warn_of_collapse(steps: Any, figures: dict[str, float], state: Search, notes: Notes) -> None:
    """Say once, when it happens, that parameter-free candidates have taken over: more than
    halfway from their share of the candidates, which chance gives, to all that is chosen."""
    positions = state.supernet.positions
    free = parameter_free_candidates(positions)
    by_chance = fmean(len(free[k]) / len(p.candidates) for k, p in positions.items())
    share = figures["parameter_free_share"]
    collapsed = state.alpha_moves and share > (1 + by_chance) / 2
    if collapsed and not notes.collapsed:
        steps.warn(f"{share:.0%} of the chosen operations have no parameters: it is collapsing")
    notes.collapsed = collapsed


def _warn_of_no_convergence(steps: Any, run: Run) -> None:
    rows = read_json_lines(run.folder / "alphas.jsonl") if run.place.primary else []
    settled = convergence(rows) if len(rows) > 1 else None  # one epoch is no search
    if settled and not settled.converged:
        same = rows[-1]["epoch"] - settled.epoch
        steps.warn(
            f"the genotype has stayed for the last {same} of {rows[-1]['epoch'] + 1} epochs only: "
            "the search has not converged"
        )


def _summary(means: dict[str, float], notes: Notes, supernet: Supernet) -> str:
    values = [f"{name} {value:.4g}" for name, value in means.items()]
    if notes.val is not None:
        values.append(notes.val)
    return "  ".join([*values, str(supernet.genotype())])
