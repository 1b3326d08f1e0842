"""What each candidate of a space costs in time at each position, measured in the whole network."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from srnas.bench.sample import open_choices
from srnas.choice import Choice, Genotype
from srnas.errors import UserError, one_line
from srnas.files import read_json, write_json
from srnas.latency.clock import WARMUP, time_alternately
from srnas.latency.runtime import open_network
from srnas.progress import Progress
from srnas.spaces import SpaceLike, check_space, derived_network, published_genotype, spelled_out

FORMAT = "srnas-latency"


@dataclass(frozen=True)
class LatencyTable:
    """Times of the candidates of a space, in milliseconds.

    A network's predicted time is that of the base network plus, for each position, what its
    candidate adds to the base's.

    Attributes:
        space: The space with its options.
        setting: How it was measured: runtime, precision, threads, size, repeats.
        base: Choices of the base network.
        base_ms: Its time.
        ms: Time of the base network with one candidate changed, by position and candidate.
        channels: Channels of the input and output of each position.
        check: What `check_prediction` returned, {} if it was not called.
    """

    space: dict[str, Any]
    setting: dict[str, Any]
    base: dict[str, Any]
    base_ms: float
    ms: dict[str, dict[str, float]]
    channels: dict[str, tuple[int, ...]]
    check: dict[str, Any]

    def predict(self, genotype: Genotype) -> float:
        """Return the predicted milliseconds of a genotype."""
        return self.base_ms + sum(
            row[str(genotype.choices[label])] - self.base_ms for label, row in self.ms.items()
        )

    def costs(self, choice: Choice) -> list[float]:
        """Return the time of each alternative of a choice, as a share of the base network's.

        Raises:
            UserError: The table has no such choice, or another one under its name.
        """
        label, names = choice.label, choice.names
        row = self.ms.get(label)
        if row is None or set(row) != set(names):
            raise UserError(
                f"the latency table of space {self.space['name']!r} has no position {label!r} with "
                f"the candidates of this search; make one: srnas latency table"
            )
        channels = tuple(self.channels[label])
        if channels != choice.shape:
            then, now = (" -> ".join(map(str, shape)) for shape in (channels, choice.shape))
            raise UserError(
                f"the latency table has {then} channels at position {label!r}, this search {now}; "
                "make one of this width: srnas latency table"
            )
        return [row[name] / self.base_ms for name in names]

    def save(self, path: Path) -> None:
        """Write the table as JSON, atomically."""
        write_json(path, {"format": FORMAT, **asdict(self)})


def read_latency_table(path: Path) -> LatencyTable:
    """Read what `LatencyTable.save` wrote.

    Raises:
        UserError: The file is missing or is not a latency table.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise UserError(f"{path}: not a latency table; srnas latency table makes one")
    try:
        table = LatencyTable(**content)
        TypeAdapter(LatencyTable).validate_python(content)
        for row in table.ms.values():
            for value in row.values():
                if not 0 < float(value) < float("inf"):
                    raise ValueError(f"{value} milliseconds")
    except (TypeError, ValueError, OverflowError) as error:
        told = one_line(" ".join(str(error).splitlines()[:3]), 200)
        raise UserError(f"{path}: a broken latency table ({told})") from error
    return table


def measure_table(
    space: SpaceLike,
    runtime: str,
    size: tuple[int, int],
    *,
    threads: int = 1,
    repeats: int = 15,
    precision: str | None = None,
) -> LatencyTable:
    """Measure every candidate at every position within the space's published network.

    All networks are opened at once and run in turns. Nothing else should run on the machine.

    Args:
        space: A space whose choices are operations only, or whose links stay as published.
        runtime: A key of `srnas.latency.RUNTIMES`.
        size: Size (width, height) of the input in pixels.
        threads: Number of threads.
        repeats: Number of runs of each network after the warm-up; their median counts.
        precision: Precision of the export; by default fp32.

    Raises:
        UserError: The space has no published network, or the runtime is not installed.
    """
    space = check_space(space)
    choices = open_choices(space).competing
    base = spelled_out(space, published_genotype(space))
    if any(label not in base.choices for label in choices):
        raise UserError(f"space {space.name!r} has cells; latency tables are for spaces without")
    changed = [
        (label, value)
        for label, choice in choices.items()
        for value in choice.alternatives()
        if value != base.choices[label]
    ]
    genotypes = [base, *(_with(base, {label: value}) for label, value in changed)]
    setting = _setting(runtime, size, threads, repeats, precision)
    base_ms, *others = _milliseconds(space, genotypes, setting)
    ms: dict[str, dict[str, float]] = {
        label: dict.fromkeys(choice.names, base_ms) for label, choice in choices.items()
    }
    for (label, value), time in zip(changed, others, strict=True):
        ms[label][str(value)] = time
    channels = {label: choice.shape for label, choice in choices.items()}
    return LatencyTable(space.to_dict(), setting, dict(base.choices), base_ms, ms, channels, {})


def check_prediction(table: LatencyTable, count: int, seed: int = 0) -> dict[str, Any]:
    """Measure random networks of the table's space as the table was, and compare with predictions.

    Args:
        table: The table.
        count: Number of networks, at least 3.
        seed: Seed of their choices at the positions; other choices are the base's.

    Returns:
        "spearman"; "error", the mean absolute error relative to the measured time; "networks",
        a row with "genotype", "predicted" and "measured" for each.
    """
    from scipy.stats import spearmanr

    space = check_space(table.space)
    base = Genotype(space.name, table.base)
    generator = random.Random(seed)
    values = {
        label: {str(value): value for value in choice.alternatives()}
        for label, choice in open_choices(space).competing.items()
    }
    genotypes = [
        _with(
            base,
            {label: values[label][generator.choice(list(row))] for label, row in table.ms.items()},
        )
        for _ in range(count)
    ]
    measured = _milliseconds(space, genotypes, table.setting)
    predicted = [table.predict(genotype) for genotype in genotypes]
    errors = [abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    return {
        "spearman": round(float(spearmanr(predicted, measured).statistic), 4),
        "error": round(sum(errors) / len(errors), 4),
        "networks": [
            {"genotype": str(g), "predicted": round(p, 4), "measured": m}
            for g, p, m in zip(genotypes, predicted, measured, strict=True)
        ],
    }


def _setting(
    runtime: str, size: tuple[int, int], threads: int, repeats: int, precision: str | None
) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "precision": precision or "fp32",
        "threads": threads,
        "width": size[0],
        "height": size[1],
        "repeats": repeats,
    }


def _milliseconds(
    space: SpaceLike, genotypes: Sequence[Genotype], setting: Mapping[str, Any]
) -> list[float]:
    """Return the median time of networks as a setting says, measured in turns."""
    size = (setting["width"], setting["height"])
    opened = []
    rounds = WARMUP + setting["repeats"]
    with Progress(len(genotypes) + rounds) as progress:
        for done, genotype in enumerate(genotypes, 1):
            network = derived_network(space, genotype).eval()
            opened.append(
                open_network(
                    network, setting["runtime"], size, setting["threads"], setting["precision"]
                )
            )
            progress.advance(done)
            progress.say(f"export {genotype}")

        def show(done: int) -> None:
            progress.advance(len(genotypes) + done)
            progress.say(f"round {done} of {rounds}")

        timings = time_alternately([one.call for one in opened], setting["repeats"], WARMUP, show)
    return [round(timing.median, 4) for timing in timings]


def _with(base: Genotype, changes: Mapping[str, Any]) -> Genotype:
    return Genotype(base.space, {**base.choices, **changes})
