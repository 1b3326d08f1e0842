"""The stages of shrinking up to the choice; `srnas.shrinking.run` has their files."""

import copy
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from srnas.choice import Space
from srnas.distributed import Process, move, start
from srnas.errors import UserError
from srnas.files import (
    append_line,
    finish_lines,
    load_tensors,
    read_json,
    read_json_lines,
    save_tensors,
    write_json,
)
from srnas.model_file import load_model
from srnas.options import TrainOptions, check_options
from srnas.progress import Progress
from srnas.shrinking.activations import observe
from srnas.shrinking.alternatives import Alternative, list_alternatives, open_model
from srnas.shrinking.choose import choose, least, total
from srnas.shrinking.costs import UNITS, measure_alternatives
from srnas.shrinking.fit import Fits
from srnas.shrinking.options import ShrinkOptions
from srnas.shrinking.score import Scorer, assembled
from srnas.shrinking.start import Starter
from srnas.tasks import Task
from srnas.tasks.base import Batches

MOMENT_BATCHES = 24
SCORE_BATCHES = 8
SAVE_EVERY = 20  # steps of the fits
TOLERANCE = 0.05  # between predicted and measured cost
SLACK = 0.005  # of the budget, for the noise of a measurement
UNUSED = 0.02  # of a budget of time, which is worth another choice
ROUNDS = 6  # of choosing and measuring
FRONT = 16  # budgets in the predicted front


@dataclass
class Choice:
    """What was chosen for the budget.

    Attributes:
        numbers: Numbers of the alternatives.
        base: Cost of the original network.
        most: The budget.
        predicted, measured: Costs of the chosen network.
        loss: Its predicted loss.
        factor: What the predicted savings were multiplied by, to agree with the measured ones.
    """

    numbers: list[int]
    base: float
    most: float
    predicted: float
    measured: float
    loss: float
    factor: float

    @property
    def fits(self) -> bool:
        """Whether what was chosen keeps the budget, up to the noise of a measurement."""
        return self.measured <= self.most * (1 + SLACK)


@dataclass
class Stages:
    """The stages up to the choice, and what they share."""

    options: ShrinkOptions
    folder: Path
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.process: Process = start(self.options.device, self.options.threads)
        torch.manual_seed(self.options.seed)
        self.model = load_model(self.options.model)
        self.original = open_model(self.model, str(self.options.model), self.options.space)
        self.reference = self.original.network
        self.offered = self.alternatives = list_alternatives(self.original)
        self.stages = self.folder
        clock = self.folder / "clock.json"
        self.spent = float(read_json(clock)["seconds"]) if clock.exists() else 0.0

    @property
    def seconds(self) -> float:
        """Seconds that this and former processes have worked on the stages, up to `tick`."""
        return self.spent + time.monotonic() - self.began

    def tick(self) -> None:
        """Keep how long the stages have taken."""
        write_json(self.folder / "clock.json", {"seconds": round(self.seconds, 1)})

    def on_device(self, network: Space) -> Space:
        """Return a copy of a network on the device."""
        return move(copy.deepcopy(network), self.process.device)

    def first_choice(self) -> tuple[Choice, dict[Alternative, nn.Module]]:
        """Choose by what each alternative loses alone."""
        fitted = self.fit()
        losses = self._losses("losses.jsonl", fitted)
        return self.choose("choice.json", losses, *self.measure()), fitted

    def _narrow(self, one: Alternative, fitted: dict[Alternative, nn.Module]) -> None:
        """Take the network that an alternative changed as a whole, and begin anew from there."""
        network = fitted[one]
        assert isinstance(network, Space)
        self.original = replace(
            self.original,
            network=network.cpu().eval().requires_grad_(False),
            genotype=self.original.changed_genotype(one.changes),
        )
        self.offered = [one for one in list_alternatives(self.original) if one.scope]
        self.alternatives = self.offered
        self.stages = self.folder / "narrowed"
        self.stages.mkdir(exist_ok=True)

    @cached_property
    def opened(self) -> tuple[Task, Batches]:
        """The task and the stream of batches, with the outputs of the network as targets."""
        options = self._training(self.original.genotype.choices, None, 1)
        task, (batches,) = options.task.open(
            options, self.process, self.original.network, ("train",)
        )
        return task, batches

    @cached_property
    def first(self) -> list[Tensor]:
        """LR images that second moments and losses are measured on: the first of the stream."""
        _, batches = self.opened
        state = batches.state_dict()
        images = [next(batches)[0] for _ in range(MOMENT_BATCHES)]
        batches.load_state_dict(state)
        return images

    def fit(self) -> dict[Alternative, nn.Module]:
        """Fit all alternatives."""
        file, steps = self.stages / "fits.pt", self.options.fit_steps
        saved = load_tensors(file) if file.exists() else None
        if saved is None:
            images = [x.cpu() for x in self.first]
            found = observe(self.original, self.offered, lambda: images)
            starter = Starter(self.original, found)
            networks = [starter.network(one) for one in self.offered]
        else:
            networks = [self.original.changed(one.changes).eval() for one in self.offered]
        network = self.on_device(self.original.network)
        fits = Fits(network, self.offered, networks, max(1, steps))
        done, data = 0, None
        if saved is not None:
            fits.load_state_dict(saved["fits"])
            done, data = saved["step"], saved["data"]
        else:
            starts = fits.modules.state_dict()
            save_tensors(self.stages / "starts.pt", dict(starts))
        if done < steps:
            self._fit(fits, done, data)
        return dict(zip(self.offered, fits.modules, strict=True))

    def _fit(self, fits: Fits, done: int, data: Any) -> None:
        steps, (_, batches) = self.options.fit_steps, self.opened
        if data is not None:
            batches.load_state_dict(data)
        with Progress(steps, done) as progress:
            progress.tell(f"fit {len(self.offered)} alternatives to what they replace")
            for step in range(done, steps):
                losses = fits.step(step, next(batches)[0])
                progress.advance(step + 1)
                if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                    state = {
                        "step": step + 1,
                        "fits": fits.state_dict(),
                        "data": batches.state_dict(),
                    }
                    save_tensors(self.stages / "fits.pt", state)
                    self.tick()
                    progress.say(f"relative error {sum(losses) / len(losses):.4f}")

    def _losses(
        self,
        name: str,
        fitted: dict[Alternative, nn.Module],
        chosen: Sequence[Alternative] = (),
    ) -> list[float]:
        """Measure what each alternative adds to the loss, beside the chosen ones."""
        file, count = self.stages / name, len(self.alternatives)
        if file.exists():
            finish_lines(file)
        rows = read_json_lines(file) if file.exists() else []
        if len(rows) < count:
            scorer = Scorer(self.on_device(self.reference), self.first[:SCORE_BATCHES])
            network = self.on_device(self.original.network)
            with Progress(count, len(rows)) as progress:
                for number in range(len(rows), count):
                    one = self.alternatives[number]
                    loss = scorer.added(network, one, fitted, chosen)
                    row = {"number": number, "alternative": str(one), "loss": loss}
                    append_line(file, json.dumps(row))
                    rows.append(row)
                    progress.advance(number + 1)
                    if progress.live or (number + 1) % 10 == 0 or number + 1 == count:
                        progress.say("losses of single alternatives")
        return [row["loss"] for row in rows]

    def check_sums(self, fitted: dict[Alternative, nn.Module]) -> None:
        """Compare sums of losses with the losses of random compositions."""
        file = self.stages / "sums.json"
        if file.exists() or not self.options.check:
            return
        losses = self._losses("losses.jsonl", fitted)
        scorer = Scorer(self.on_device(self.reference), self.first[:SCORE_BATCHES])
        network = self.on_device(self.original.network)
        before = scorer.loss(network)
        generator = random.Random(self.options.seed)
        rows = []
        for _ in range(self.options.check):
            numbers = self._random_composition(generator)
            chosen = [self.alternatives[n] for n in numbers]
            loss = scorer.loss(assembled(network, chosen, fitted)) - before
            rows.append({"sum": sum(losses[n] for n in numbers), "loss": loss, "numbers": numbers})
        pairs = [row["sum"] for row in rows], [row["loss"] for row in rows]
        correlations = {
            "pearson": round(float(pearsonr(*pairs).statistic), 4),
            "spearman": round(float(spearmanr(*pairs).statistic), 4),
        }
        write_json(file, {**correlations, "compositions": rows})
        print(f"sums of losses against losses of {len(rows)} random compositions: {correlations}")

    def _random_composition(self, generator: random.Random) -> list[int]:
        """Return numbers of alternatives that exclude each other nowhere."""
        numbers = [n for n, one in enumerate(self.alternatives) if one.scope]
        generator.shuffle(numbers)
        share, covered, chosen = generator.uniform(0.1, 0.9), set[str](), []
        for number in numbers:
            one = self.alternatives[number]
            if generator.random() < share and not covered & one.covers:
                chosen.append(number)
                covered |= one.covers
        return sorted(chosen) or numbers[:1]

    def measure(self) -> tuple[float, list[float]]:
        """Return the cost of the network, and what each alternative adds to it."""
        file = self.stages / "costs.json"
        if not file.exists():
            how = self.options.setting
            first, own, added = measure_alternatives(
                self.reference, self.original, self.offered, how
            )
            content = {"setting": asdict(how), "reference": first, "network": own, "added": added}
            write_json(file, content)
        content = read_json(file)
        scale = self.base / content["reference"]  # of two runs on a machine that was slower in one
        return scale * content["network"], [scale * cost for cost in content["added"]]

    @cached_property
    def base(self) -> float:
        """Cost of the original network."""
        return float(read_json(self.folder / "costs.json")["reference"])

    def choose(
        self,
        name: str,
        losses: Sequence[float],
        own: float,
        costs: Sequence[float],
        factor: float = 1.0,
    ) -> Choice:
        """Choose for the budget, and measure what was chosen, until both agree."""
        file = self.stages / name
        if file.exists():
            return Choice(**{k: v for k, v in read_json(file).items() if k != "front"})
        most = self.options.most(self.base)
        unit, target = UNITS[self.options.setting.kind], most
        tried: dict[tuple[int, ...], Choice] = {}
        for _ in range(ROUNDS):
            scaled = [factor * cost for cost in costs]
            numbers = choose(self.alternatives, losses, scaled, own, target)
            if numbers is None and not tried:
                raise self._impossible(most, least(self.alternatives, scaled, own))
            if numbers is None or tuple(numbers) in tried:
                break
            predicted = total(self.alternatives, scaled, own, numbers)
            measured = self.base * self._ratio([self.alternatives[n] for n in numbers])
            print(
                f"chosen for {target:,.4g} {unit}: predicted {predicted:,.4g}, measured "
                f"{measured:,.4g}; {len(numbers)} replacements",
                flush=True,
            )
            loss = sum(losses[n] for n in numbers)
            choice = Choice(numbers, self.base, most, predicted, measured, loss, factor)
            tried[tuple(numbers)] = choice
            off = abs(predicted / measured - 1) > TOLERANCE
            unused = self.options.setting.kind == "latency" and measured < (1 - UNUSED) * most
            if not off and choice.fits and not unused:
                break
            if off and predicted < own:
                factor *= max(own - measured, 1e-3 * own) / (own - predicted)
            else:
                target *= most / measured
        fitting = [one for one in tried.values() if one.fits]
        if fitting:
            choice = min(fitting, key=lambda one: one.loss)
        else:
            choice = min(tried.values(), key=lambda one: one.measured)
            if choice.measured > most * (1 + TOLERANCE):
                raise self._impossible(most, choice.measured)
            print(f"the budget is missed by {choice.measured / most - 1:.1%}", flush=True)
        write_json(file, {**asdict(choice), "front": self.front(losses, own, scaled)})
        self.tick()
        return choice

    def _impossible(self, most: float, cheapest: float) -> UserError:
        unit = UNITS[self.options.setting.kind]
        return UserError(
            f"a budget of {most:,.4g} {unit} cannot be met: the network has {self.base:,.4g}, the "
            f"cheapest choice about {cheapest:,.4g}"
        )

    def _ratio(self, chosen: Sequence[Alternative]) -> float:
        """Return the cost of the network of a choice relative to the original's, in one run.

        A machine may be slower than when the costs were measured.
        """
        changes = {label: value for one in chosen for label, value in one.changes.items()}
        networks = [self.reference, self.original.changed(changes).eval()]
        before, after = self.options.setting.measure(networks)
        return after / before

    def front(
        self, losses: Sequence[float], own: float, costs: Sequence[float]
    ) -> list[dict[str, Any]]:
        """Return the predicted loss and choice for a series of budgets, from the least to all."""
        lowest = least(self.alternatives, costs, own)
        rows = []
        for number in range(FRONT):
            most = (lowest + (own - lowest) * number / FRONT) * (1 + 1e-9)
            numbers = choose(self.alternatives, losses, costs, own, most) or []
            rows.append(
                {
                    "cost": total(self.alternatives, costs, own, numbers),
                    "loss": sum(losses[n] for n in numbers),
                    "numbers": numbers,
                }
            )
        return rows

    def _training(
        self, choices: dict[str, Any], init: Path | None, steps: int, precision: str = "float32"
    ) -> TrainOptions:
        space = self.original.space.to_dict()
        content = self.options.training(space, choices, init, steps, precision)
        options = check_options("train", content, "srnas shrink")
        assert isinstance(options, TrainOptions)
        return options
