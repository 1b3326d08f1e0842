"""The sampled search: short trainings of networks that a linear model of their scores draws.

Thompson sampling (Thompson 1933; Russo et al., *A Tutorial on Thompson Sampling*, 2018): each
network is the best one under coefficients drawn from the posterior, given all scores so far.
Nothing is relaxed, and no weights are shared.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srnas.budget import Budget, strongest
from srnas.choice import Genotype, ScoreTable
from srnas.choice.features import Array, Features
from srnas.distributed import Process
from srnas.engine.bench import Bench
from srnas.engine.posterior import Posterior
from srnas.engine.run import Loop, Run
from srnas.engine.sample import sample_genotypes
from srnas.engine.sessions import versions
from srnas.errors import UserError
from srnas.files import write_json
from srnas.options import SearchOptions, TrainOptions, check_options
from srnas.plugins import load_plugin, loaded_plugins
from srnas.search_parts import SampledOptions
from srnas.spaces import open_choices, space_class

DRAWS = 200  # of the posterior, for probabilities and the expected gain
TRIES = 50  # draws in search of a network that is not trained yet
FRONT = 12  # budgets of a front

Train = Callable[[Genotype], float]
"""Trains a network and returns its score, larger is better."""


@dataclass
class History:
    """The networks so far.

    Attributes:
        choices: Choices of each.
        scores: Score of each.
        seconds: How long that took, if the search has a number of minutes.
    """

    choices: list[dict[str, Any]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all of them."""
        return {"choices": self.choices, "scores": self.scores, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.choices, self.scores = list(state["choices"]), list(state["scores"])
        self.seconds = float(state["seconds"])


class Sampler:
    """Draws networks, and says which is best.

    Args:
        options: The search.
        sampled: How it samples.
    """

    def __init__(self, options: SearchOptions, sampled: SampledOptions) -> None:
        self.space, self.options = options.space, sampled
        self.seed = options.seed
        self.choices = open_choices(options.space)
        self.features = Features(self.choices)
        self.budget = Budget(self.choices, sampled.latency) if sampled.most else None
        self.first = sample_genotypes(options.space, sampled.random, options.seed)
        if self.budget:
            self.first = [self._within(one) for one in self.first]

    def posterior(self, history: History, count: int) -> Posterior:
        """Return the posterior after the first `count` networks."""
        x = np.array([self._encode(row) for row in history.choices[:count]])
        return Posterior(x, np.array(history.scores[:count]), self.options.ratio)

    def best(self, coefficients: Array, most: float | None) -> Genotype:
        """Return the best network under coefficients, within a budget."""
        rows = self.features.utilities(coefficients)
        picks = strongest(self.choices, rows, self.budget, most)
        return Genotype(self.space.name, space_class(self.space.name).write_choices(picks))

    def round_of(self, number: int) -> tuple[int, int]:
        """Return the first network of the round of a network, and the first one after it."""
        random, count = len(self.first), self.options.at_once
        first = random if number >= random else 0
        start = number - (number - first) % count
        return start, start + count if first else min(start + count, random)

    def draw(self, history: History, start: int, stop: int) -> list[Genotype]:
        """Return the networks of a round, from `start` on, given those before it."""
        if start < len(self.first):
            return self.first[start:stop]
        posterior = self.posterior(history, start)
        drawn = [Genotype(self.space.name, row) for row in history.choices[:start]]
        for number in range(start, stop):
            drawn.append(self._draw(posterior, {str(one) for one in drawn}, number))
        return drawn[start:]

    def summary(self, history: History) -> "Summary":
        """Say what is best after the networks so far."""
        posterior = self.posterior(history, len(history.scores))
        most = self.options.most[-1] if self.options.most else None
        best = self.best(posterior.mean, most)
        generator = np.random.default_rng([self.seed, len(history.scores), 1])
        x = self._encode(best.choices)
        gains, counts = [], {k: np.zeros(n) for k, n in self.features.lengths.items()}
        for _ in range(DRAWS):
            coefficients = posterior.draw(generator)
            rival = self.best(coefficients, most)
            gains.append(float((self._encode(rival.choices) - x) @ coefficients))
            values = space_class(self.space.name).read_choices(rival.choices)
            for choice in self.choices.whole:
                for label, row in choice.encode(values[choice.place]).items():
                    counts[label] += row
        mean, spread = posterior.predict(x[None])
        return Summary(
            best,
            float(mean[0]),
            float(spread[0]),
            float(np.mean(gains)),
            {k: row.tolist() for k, row in self.features.utilities(posterior.mean).items()},
            {k: (row / DRAWS).tolist() for k, row in counts.items()},
        )

    def enough(self, history: History, found: "Summary | None" = None) -> bool:
        """Return whether the time is up, or no other network promises much more than the best."""
        until, minutes = self.options.until, self.options.minutes
        if minutes is not None and len(history.scores) > 1 and history.seconds >= 60 * minutes:
            return True
        if until is None or len(history.scores) <= len(self.first):
            return False
        return (found or self.summary(history)).gain < until

    def front(self, history: History) -> list[dict[str, Any]]:
        """Return the best networks for budgets over the range, cheapest first."""
        assert self.budget
        assert self.options.most
        posterior = self.posterior(history, len(history.scores))
        rows: dict[str, dict[str, Any]] = {}
        for most in np.geomspace(self.options.most[0], self.options.most[-1], FRONT):
            best = self.best(posterior.mean, float(most))
            mean, spread = posterior.predict(self._encode(best.choices)[None])
            cost = self.budget.of(space_class(self.space.name).read_choices(best.choices))
            rows.setdefault(
                str(best),
                {
                    "choices": best.choices,
                    "cost": round(cost, 6),
                    "score": round(float(mean[0]), 5),
                    "deviation": round(float(spread[0]), 5),
                },
            )
        return list(rows.values())

    def _draw(self, posterior: Posterior, taken: set[str], number: int) -> Genotype:
        generator = np.random.default_rng([self.seed, number])
        for _ in range(TRIES):
            found = self.best(posterior.draw(generator), self._most(generator))
            if str(found) not in taken:
                return found
        return found

    def _most(self, generator: np.random.Generator) -> float | None:
        """Return the budget of a network: any of the range, if a front is wanted."""
        most = self.options.most
        if most is None:
            return None
        if len(most) == 1:
            return most[0]
        return float(np.exp(generator.uniform(*np.log(most))))

    def _within(self, genotype: Genotype) -> Genotype:
        """Return the network within the budget that shares most choices with a random one."""
        assert self.options.most
        picks = space_class(self.space.name).read_choices(genotype.choices)
        rows: dict[str, Array] = {}
        for choice in self.choices.whole:
            rows |= {
                k: np.array(row, float) for k, row in choice.encode(picks[choice.place]).items()
            }
        near = strongest(self.choices, rows, self.budget, self.options.most[-1])
        return Genotype(self.space.name, space_class(self.space.name).write_choices(near))

    def _encode(self, choices: dict[str, Any]) -> Array:
        return self.features(space_class(self.space.name).read_choices(choices))


@dataclass(frozen=True)
class Summary:
    """What the posterior says.

    Attributes:
        best: The network with the best predicted score.
        score, deviation: This score, and the standard deviation of its expectation.
        gain: By how much the best network is better, in expectation.
        utilities: What each alternative adds, by label.
        probabilities: Share of draws whose best network has each alternative, by label.
    """

    best: Genotype
    score: float
    deviation: float
    gain: float
    utilities: dict[str, list[float]]
    probabilities: dict[str, list[float]]


def run_sampled(
    options: SearchOptions, process: Process, run: Run, score: ScoreTable | None
) -> None:
    """Take the remaining trainings of a search, one a step.

    Raises:
        UserError: The options do not fit.
    """
    sampled = options.sampled
    assert sampled
    if process.world > 1:
        raise UserError("sampled: give sampled.at_once=N for several processes, without torchrun")
    sampler, history = Sampler(options, sampled), History()
    states = {"sampled": history}
    run.restore(states)
    if sampler.enough(history):
        return
    with (
        run.loop(options.epochs) as loop,
        _trainer(training(options), str(process.device), sampled.at_once) as begin,
    ):
        waiting: list[tuple[Genotype, Future[float]]] = []
        began = time.monotonic()
        for number in loop:
            if not waiting:
                start, stop = sampler.round_of(number)
                drawn = sampler.draw(history, start, min(stop, options.epochs))
                waiting = [(one, begin(one)) for one in drawn[number - start :]]
            genotype, future = waiting.pop(0)
            history.scores.append(future.result())
            history.choices.append(genotype.choices)
            if sampled.minutes is not None:
                history.seconds += time.monotonic() - began
                began = time.monotonic()
            _close(run, loop, sampler, history, number, score)
            loop.done(number + 1, states, checkpoint=True)


def training(options: SearchOptions) -> dict[str, Any]:
    """Return the options of one training, without the genotype."""
    content = options.model_dump(mode="json")
    sampled = options.sampled
    assert sampled
    kept = ("name", "experiments", "seed", "device", "precision", "space", "loss", "teacher",
            "clip_grad_norm", "init")  # fmt: skip
    given = {key: content[key] for key in kept if content.get(key) is not None}
    return given | {
        "data": {k: v for k, v in content["data"].items() if k != "alpha"},
        "steps": options.steps_per_epoch,
        "optimizer": content["weight_optimizer"],
        "ema": sampled.ema,
        "init_where_fitting": options.init is not None,
    }


def check_training(content: Mapping[str, Any]) -> TrainOptions:
    """Check what `training` returned."""
    checked = check_options("train", dict(content), "sampled")
    assert isinstance(checked, TrainOptions)
    return checked


def _close(
    run: Run,
    loop: Loop,
    sampler: Sampler,
    history: History,
    number: int,
    score: ScoreTable | None,
) -> None:
    """Log a training and what is best now, and stop if no other network promises more."""
    options = run.options
    assert isinstance(options, SearchOptions)
    row: dict[str, Any] = {"step": number + 1, "epoch": number, "score": history.scores[-1]}
    if len(history.scores) < 2:
        run.log("metrics.jsonl", row)
        return
    found = sampler.summary(history)
    row |= {"predicted": found.score, "deviation": found.deviation, "expected_gain": found.gain}
    row |= score(found.best) if score else {}
    run.log("metrics.jsonl", row)
    candidates = {k: sampler.choices[k].names for k in found.utilities}
    run.log(
        "alphas.jsonl",
        {
            "step": number + 1,
            "epoch": number,
            "genotype": found.best.choices,
            "alphas": found.utilities,
            "probabilities": found.probabilities,
            "candidates": candidates,
        },
    )
    provenance = {
        "options": options.model_dump(mode="json", exclude={"device", "threads", "experiments"}),
        "seed": options.seed,
        "step": number + 1,
        "versions": versions(),
    }
    best = Genotype(found.best.space, found.best.choices, provenance)
    best.save(run.folder / "genotype.json")
    if sampler.options.most and len(sampler.options.most) > 1:
        write_json(run.folder / "front.json", {"networks": sampler.front(history)})
    text = f"{found.best}: predicted {found.score:.4g} +- {found.deviation:.2g}"
    loop.say(f"score {history.scores[-1]:.4g}; best {text}, to gain {found.gain:.2g}")
    if sampler.enough(history, found):
        loop.tell(f"stopping: the best network is expected to be better by {found.gain:.2g}")
        loop.stop()


@contextmanager
def _trainer(
    content: Mapping[str, Any], device: str, at_once: int
) -> Iterator[Callable[[Genotype], Future[float]]]:
    """Yield what begins a training, in this process or in several others."""
    if at_once == 1:
        train = partial(_train, Bench(device), check_training(content))

        def begin(genotype: Genotype) -> Future[float]:
            future: Future[float] = Future()
            future.set_result(train(genotype))
            return future

        yield begin
        return
    plugins: Sequence[Path] = [*loaded_plugins.values()]
    pool = ProcessPoolExecutor(at_once, get_context("spawn"), _set_up, (content, device, plugins))
    try:
        yield lambda genotype: pool.submit(_work, genotype)
    finally:
        pool.shutdown(cancel_futures=True)


_worker: list[Callable[[Genotype], float]] = []  # of a process of the pool


def _set_up(content: Mapping[str, Any], device: str, plugins: Sequence[Path]) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    for plugin in plugins:
        load_plugin(plugin)
    _worker.append(partial(_train, Bench(device), check_training(content)))


def _end_with(parent: int) -> None:
    """End this process when its parent has been killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work(genotype: Genotype) -> float:
    return _worker[0](genotype)


def _train(bench: Bench, options: TrainOptions, genotype: Genotype) -> float:
    """Train a network and return its validation score, larger is better."""
    network, task, _, _ = bench.train(options, genotype)
    if not task.val_count:
        raise UserError("data.val: a sampled search needs validation images")
    value = task.validate(network)[task.score]
    return value if task.higher_is_better else -value
