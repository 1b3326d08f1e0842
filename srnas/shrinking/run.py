"""The whole way from a trained network to a faster one, in stages that are kept in a folder.

In `OUT/shrink/` are `options.json`; `starts.pt` and `fits.pt`, the alternatives before the fits and
after those so far; `losses.jsonl`, a row for each alternative; `costs.json`; `choice.json`;
`again.jsonl` and `again.json`, losses around the first choice and the second choice; `narrowed/`,
all of these anew if the first choice changed the whole network; `start.safetensors`, the composed
network; `plan.json`, the number of steps of the distillation, which is a training in `OUT` itself;
`sums.json`, how well losses add up; `clock.json`; `result.json`. A killed run
goes on after the last finished piece, to the same bits; times are measured once and kept.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from srnas.choice import Genotype, Space
from srnas.cost import count_parameters
from srnas.data.structures import write_structures
from srnas.distributed import move
from srnas.engine.estimate import time_steps, time_validation
from srnas.engine.train import Trainer, initial_network
from srnas.engine.train import train as run_training
from srnas.errors import UserError
from srnas.files import (
    load_tensors,
    read_json,
    write_json,
)
from srnas.lock import hold
from srnas.machine import computes_in_bfloat16
from srnas.model_file import Model, load_model, save_model
from srnas.progress import duration
from srnas.shrinking.alternatives import Alternative, open_model
from srnas.shrinking.costs import UNITS
from srnas.shrinking.deliver import check_wishes, deliver
from srnas.shrinking.fit import Fits
from srnas.shrinking.options import ShrinkOptions, check_shrink_options
from srnas.shrinking.reuse import take_over
from srnas.shrinking.score import composed
from srnas.shrinking.stages import Choice, Stages

STRUCTURES = "fine lines"  # a set that is drawn
ANOTHER = "give another --out"


def shrink(
    options: ShrinkOptions,
    resume: bool = False,
    report: Callable[[Path], object] | None = None,
) -> Path:
    """Make a trained network faster or smaller.

    Args:
        options: The network, the budget and the images.
        resume: Whether to continue a run that exists.
        report: Called with the folder of the distillation at the end.

    Returns:
        The model file.

    Raises:
        UserError: The network, the images or the budget do not fit, or the folder exists and
            `resume` is off.
        Interrupted: The user asked to stop the distillation; its state is saved.
    """
    folder = options.out / "shrink"
    check_wishes(options)
    with hold(options.out / ".shrink.lock", options.out, ANOTHER):
        given = options.model_dump(mode="json")
        file = folder / "options.json"
        if file.exists():
            if not resume:
                raise UserError(f"{options.out}: exists; continue it by --resume, or {ANOTHER}")
            before = check_shrink_options(read_json(file)).model_dump(mode="json")
            changed = [key for key in given if before[key] != given[key]]
            if changed:
                raise UserError(
                    f"{file}: {changed[0]} was {before[changed[0]]!r} when this run began and "
                    f"is {given[changed[0]]!r} now; resume with the same options, or {ANOTHER}"
                )
        folder.mkdir(parents=True, exist_ok=True)
        run = _Run(options, folder)
        if not file.exists():
            take_over(options, folder, len(run.alternatives))
            write_json(file, given)
        model = run.go()
        if report and (options.out / "options.yml").exists():
            report(options.out)
        return model


class _Run(Stages):
    """One run, from the stages to the result."""

    def go(self) -> Path:
        """Take the stages that are not done."""
        choice, fitted = self.first_choice()
        wide = [n for n in choice.numbers if not self.alternatives[n].scope]
        if wide:
            self._narrow(self.alternatives[wide[0]], fitted)
            choice, fitted = self.first_choice()
        self.check_sums(fitted)
        chosen = [self.alternatives[n] for n in choice.numbers]
        own, costs = self.measure()
        costs = [cost for one, cost in zip(self.offered, costs, strict=True) if one.scope]
        self.alternatives = [one for one in self.offered if one.scope]
        again = self._losses("again.jsonl", fitted, chosen)
        choice = self.choose("again.json", again, own, costs, choice.factor)
        chosen = [self.alternatives[n] for n in choice.numbers]
        self.keep(composed(self.original, chosen, fitted), chosen)
        file = self.distil(chosen)
        self.sum_up(file, choice, chosen)
        deliver(self.options, file)
        return file

    def keep(self, network: Space, chosen: Sequence[Alternative]) -> None:
        """Write the composed network."""
        file = self.folder / "start.safetensors"
        if file.exists():
            return
        changes = {label: value for one in chosen for label, value in one.changes.items()}
        genotype = self.original.changed_genotype(changes)
        provenance = {
            "shrunk_from": {"file": self.options.model.name, "genotype": str(self.model.genotype)},
            "replaced": self._replaced(chosen),
        }
        save_model(file, Model(network, self.original.space, genotype, provenance))

    def distil(self, chosen: Sequence[Alternative]) -> Path:
        """Train the composed network to the original's outputs, and measure what came out."""
        changes = {label: value for one in chosen for label, value in one.changes.items()}
        genotype = self.original.changed_genotype(changes)
        start_file = self.folder / "start.safetensors"
        plan = self.folder / "plan.json"
        if not plan.exists():
            precision = self._precision()
            steps = self._steps(genotype, start_file, precision)
            write_json(plan, {"steps": steps, "precision": precision})
        planned = read_json(plan)
        file = start_file
        if planned["steps"]:
            options = self._training(genotype.choices, start_file, **planned)
            file = run_training(options, (self.options.out / "options.yml").exists())
        return file

    def sum_up(self, file: Path, choice: Choice, chosen: Sequence[Alternative]) -> None:
        """Write what the network cost and reached before and after."""
        target = self.folder / "result.json"
        if target.exists():
            return
        networks = {
            "original": self.reference,
            "started": composed(self.original, chosen, self._starts()),
            "fitted": load_model(self.folder / "start.safetensors").network,
            "distilled": load_model(file).network,
        }
        setting = self.options.setting
        sizes = {name: count_parameters(networks[name]) for name in ("original", "distilled")}
        quality = {name: self._quality(network) for name, network in networks.items()}
        result = {
            "model": str(file),
            "replaced": self._replaced(chosen),
            "setting": asdict(setting),
            "unit": UNITS[setting.kind],
            "cost": {"original": choice.base, "result": choice.measured, "budget": choice.most},
            "params": sizes,
            "quality": quality,
        }
        write_json(target, result)
        for name, before in quality["original"].items():
            after = quality["distilled"][name]["psnr"]
            print(f"{name:<12} {before['psnr']:.3f} dB before, {after:.3f} dB after")
        unit, ratio = UNITS[setting.kind], choice.base / choice.measured
        costs = f"{choice.base:,.4g} before, {choice.measured:,.4g} after"
        print(f"{unit:<12} {costs}: {ratio:.2f} times")

    def _starts(self) -> dict[Alternative, nn.Module]:
        """Return the alternatives before the fits."""
        networks = [self.original.changed(one.changes).eval() for one in self.offered]
        fits = Fits(self.original.network, self.offered, networks, 1)
        fits.modules.load_state_dict(load_tensors(self.stages / "starts.pt"))
        return dict(zip(self.offered, fits.modules, strict=True))

    def _quality(self, network: Space) -> dict[str, dict[str, float]]:
        task, _ = self.opened
        sets = {STRUCTURES: str(write_structures(self.folder / "structures"))}
        sets |= {name: str(folder) for name, folder in self.options.test.items()}
        measured = type(task).evaluate(network, sets, device=str(self.process.device))
        quality = {"validation": task.validate(self.on_device(network))}
        return quality | {n: {"psnr": f["psnr"], "ssim": f["ssim"]} for n, f in measured.items()}

    def _replaced(self, chosen: Sequence[Alternative]) -> list[str]:
        """Return the choices that differ from the original's."""
        changes = {label: value for one in chosen for label, value in one.changes.items()}
        now = self.original.changed_genotype(changes).choices
        before = open_model(self.model, "", self.options.space).genotype.choices
        return [f"{label}={value}" for label, value in now.items() if value != before[label]]

    def _precision(self) -> str:
        """Return the precision of the distillation."""
        given = self.options.training_precision
        if given != "auto":
            return given
        return "bfloat16" if computes_in_bfloat16(self.process.device) else "float32"

    def _steps(self, genotype: Genotype, init: Path, precision: str) -> int:
        """Return the number of steps that the minutes leave."""
        if self.options.steps is not None:
            return self.options.steps
        left = 60 * self.options.minutes - self.seconds
        options = self._training(genotype.choices, init, 1000, precision)
        task, batches = self.opened
        task = copy.copy(task)
        task.precision = precision
        network = move(initial_network(options, genotype), self.process.device).train()
        trainer = Trainer(options, network, task, batches)
        seconds = time_steps(trainer.step, self.process.device)
        seconds += time_validation(task, trainer.judged) / 1000
        steps = max(100, int(left / seconds) // 100 * 100)
        print(f"distillation: {steps:,} steps in {duration(steps * seconds)}", flush=True)
        return steps
