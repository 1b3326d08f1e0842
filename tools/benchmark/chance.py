"""The choice of a finished `srnas shrink` against random ones, uniform ones and given genotypes.

    .venv/bin/python tools/benchmark/chance.py RUN --out DIR [--count 10] [--steps 1200]
        [--within 0.02] [--genotype NAME=FILE ...] [--test Set5=DIR ...] [--threads 1]
        [--part 1/2] [--measure]

RUN is the `--out` of the run. Random compositions are drawn from its alternatives until their
predicted cost is within a share of that of the choice; a uniform one has the same change in all
blocks. All start from the fitted alternatives, given genotypes from fits of their own, and are
distilled alike. `chance.jsonl` gets a row for each; a killed run goes on after the last one.
`--measure` times all of them in turns, on a machine that does nothing else, into `times.json`.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from srnas.choice import Genotype, Space
from srnas.engine.train import train
from srnas.files import append_line, read_json, read_json_lines, write_json
from srnas.model_file import Model, load_model, save_model
from srnas.options import check_options
from srnas.shrinking.alternatives import Alternative
from srnas.shrinking.choose import total
from srnas.shrinking.options import ShrinkOptions, check_shrink_options
from srnas.shrinking.score import Scorer, composed
from srnas.shrinking.stages import SCORE_BATCHES, Stages

TRIES = 20_000


@dataclass
class Composition:
    """A network before its distillation."""

    name: str
    network: Space
    genotype: Genotype
    predicted_cost: float | None = None
    predicted_loss: float | None = None


class Chance:
    """Compositions of the alternatives of a run, at both widths of the stream if it narrowed it."""

    def __init__(self, options: ShrinkOptions) -> None:
        self.options, folder = options, options.out / "shrink"
        self.first = Stages(options, folder)
        self.stages = [self.first]
        if (folder / "narrowed").exists():
            narrow = Stages(options, folder)
            numbers = read_json(folder / "choice.json")["numbers"]
            (wide,) = (n for n in numbers if not narrow.alternatives[n].scope)
            narrow._narrow(narrow.alternatives[wide], narrow.fit())
            self.stages.append(narrow)
        self.fitted = [stage.fit() for stage in self.stages]
        self.last = len(self.stages) - 1
        self.target = read_json(self.stages[-1].stages / "again.json")["measured"]

    def compose(self, name: str, stage: int, chosen: list[Alternative]) -> Composition:
        run, fitted = self.stages[stage], self.fitted[stage]
        changes = {label: value for one in chosen for label, value in one.changes.items()}
        network = composed(run.original, chosen, fitted)
        numbers = [run.offered.index(one) for one in chosen]
        cost, loss = self.predict(stage, numbers)
        genotype = run.original.changed_genotype(changes)
        return Composition(name, network, genotype, cost, loss)

    def predict(self, stage: int, numbers: list[int]) -> tuple[float, float]:
        """Predicted cost and loss, the latter beside that of the narrower stream."""
        run = self.stages[stage]
        own, costs = run.measure()
        factor = read_json(run.stages / "choice.json")["factor"]
        losses = [row["loss"] for row in read_json_lines(run.stages / "losses.jsonl")]
        cost = total(run.offered, [factor * cost for cost in costs], own, numbers)
        return cost, self.of_stream(stage) + sum(losses[n] for n in numbers)

    def of_stream(self, stage: int) -> float:
        if not hasattr(self, "_stream"):
            scorer = Scorer(self.first.reference, self.first.first[:SCORE_BATCHES])
            self._stream = [scorer.loss(run.original.network) for run in self.stages]
        return self._stream[stage]

    def chosen(self) -> Composition:
        run = self.stages[-1]
        parts = [one for one in run.offered if one.scope]
        numbers = read_json(run.stages / "again.json")["numbers"]
        return self.compose("chosen", self.last, [parts[n] for n in numbers])

    def drawn(self, count: int, within: float) -> Iterator[Composition]:
        generator = random.Random(1)
        for number in range(count):
            stage = number % len(self.stages)
            run = self.stages[stage]
            run.alternatives = run.offered
            for _ in range(TRIES):
                numbers = run._random_composition(generator)
                cost, _ = self.predict(stage, numbers)
                if abs(cost / self.target - 1) <= within:
                    chosen = [run.offered[n] for n in numbers]
                    yield self.compose(f"random {number + 1}", stage, chosen)
                    break

    def uniform(self) -> Iterator[Composition]:
        """The slowest uniform change of each name that keeps the budget; the fastest if none."""
        for stage, run in enumerate(self.stages):
            groups: dict[str, list[Alternative]] = {}
            for one in run.offered:
                if one.scope:
                    key = " ".join(
                        f"{k.rpartition('/')[2]}={v}" for k, v in sorted(one.changes.items())
                    )
                    groups.setdefault(key, []).append(one)
            costs = {
                key: self.predict(stage, [run.offered.index(one) for one in ones])[0]
                for key, ones in groups.items()
            }
            fitting = {k: c for k, c in costs.items() if c <= 1.02 * self.target}
            if fitting:
                key = max(fitting, key=fitting.__getitem__)
                yield self.compose(f"uniform {key}, stream {stage}", stage, groups[key])

    def given(self, name: str, file: Path) -> Composition:
        """A genotype, whose operations are fitted like those of the run."""
        choices = read_json(file)
        known = self.stages[0].offered
        own = [one for one in known if all(choices.get(k) == v for k, v in one.changes.items())]
        if any("/" in label for label in choices):  # of the run's own alternatives
            return self.compose(name, 0, own)
        space = {**self.options.space, "candidates": sorted({"conv_3x3", *choices.values()})}
        options = self.options.model_copy(update={"space": space})
        folder = self.options.out / f"chance_{name}"
        folder.mkdir(exist_ok=True)
        write_json(folder / "clock.json", {"seconds": 0.0})
        run = Stages(options, folder)
        run.first = self.first.first
        wanted = {
            label: choices.get(label, choices.get(label.rpartition("/")[2]))
            for label in run.original.genotype.choices
        }
        run.offered = [
            one
            for one in run.offered
            if all(wanted.get(label) == value for label, value in one.changes.items())
        ]
        fitted: dict[Alternative, nn.Module] = run.fit()
        network = composed(run.original, run.offered, fitted)
        changes = {label: v for one in run.offered for label, v in one.changes.items()}
        genotype = run.original.changed_genotype(changes)
        return Composition(name, network, genotype)


def distil(
    run: Stages, one: Composition, out: Path, steps: int, tests: dict[str, str]
) -> dict[str, Any]:
    folder = out / one.name.replace(" ", "_").replace("=", "_").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    scorer = Scorer(run.reference, run.first[:SCORE_BATCHES])
    start = folder / "start.safetensors"
    model = Model(one.network, one_space(run, one), one.genotype, {})
    save_model(start, model)
    content = run.options.training(model.space.to_dict(), one.genotype.choices, start, steps)
    content |= {"name": "run", "experiments": str(folder), "val_every": steps}
    options = check_options("train", content, "chance")
    file = train(options, (folder / "run" / "options.yml").exists())
    network = load_model(file).network
    task, _ = run.opened
    quality = {name: f["psnr"] for name, f in type(task).evaluate(network, tests).items()}
    quality["validation"] = task.validate(network)["psnr"]
    return {
        "name": one.name,
        "genotype": one.genotype.choices,
        "predicted_cost": one.predicted_cost,
        "predicted_loss": one.predicted_loss,
        "loss": scorer.loss(one.network),
        "distilled_loss": scorer.loss(network),
        "psnr": quality,
        "file": str(file),
    }


def one_space(run: Stages, one: Composition) -> Any:
    """The space of the run, with the candidates of the genotype."""
    space = run.original.space
    names = {v for v in one.genotype.choices.values() if isinstance(v, str)}
    known = getattr(space.options, "candidates", None)
    if known is None or names <= set(known):
        return space
    return space.with_options(candidates=sorted({*known, *names}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--within", type=float, default=0.02)
    parser.add_argument("--genotype", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--test", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part", default="1/1", help="i/n: every n-th composition from the i-th")
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = read_json(arguments.run / "shrink/options.json")
    options = check_shrink_options({**content, "threads": arguments.threads, "device": "cpu"})
    rows_file = arguments.out / "chance.jsonl"
    if arguments.measure:
        measure(options, rows_file)
        return
    chance = Chance(options)
    tests = dict(pair.split("=", 1) for pair in arguments.test)
    compositions = [chance.chosen(), *chance.drawn(arguments.count, arguments.within)]
    compositions += chance.uniform()
    done = {row["name"] for row in read_json_lines(rows_file)} if rows_file.exists() else set()
    part, parts = map(int, arguments.part.split("/"))
    given = [pair.split("=", 1) for pair in arguments.genotype][part - 1 :: parts]
    for one in compositions:
        print(one.name, one.predicted_cost, one.predicted_loss, flush=True)
    for one in compositions[part - 1 :: parts]:
        if one.name not in done:
            row = distil(chance.first, one, arguments.out, arguments.steps, tests)
            append_line(rows_file, json.dumps(row))
    for name, file in given:
        if name not in done:
            one = chance.given(name, Path(file))
            row = distil(chance.first, one, arguments.out, arguments.steps, tests)
            append_line(rows_file, json.dumps(row))
    sum_up(read_json_lines(rows_file))


def measure(options: ShrinkOptions, rows_file: Path) -> None:
    rows = read_json_lines(rows_file)
    networks = [load_model(options.model).network, *(load_model(r["file"]).network for r in rows)]
    setting = replace(options.setting, repeats=25)
    first, *times = setting.measure(networks)
    found = {
        row["name"]: {"ms": ms, "times": first / ms} for row, ms in zip(rows, times, strict=True)
    }
    write_json(rows_file.parent / "times.json", {"original": first, "compositions": found})
    print(json.dumps(found, indent=1))


def sum_up(rows: list[dict[str, Any]]) -> None:
    drawn = [row for row in rows if row["name"].startswith("random")]
    (chosen,) = (row for row in rows if row["name"] == "chosen")
    for key, value in chosen["psnr"].items():
        values = [row["psnr"][key] for row in drawn]
        print(
            f"{key:<12} chosen {value:.3f}; {len(values)} random: mean {mean(values):.3f}, "
            f"standard deviation {stdev(values):.3f}, best {max(values):.3f}"
        )


if __name__ == "__main__":
    main()
