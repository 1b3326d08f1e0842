"""Tables of what each candidate costs in time at each position, measured in the whole network."""

import random
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.latency.runtime import open_network
from srnas.latency.table import LatencyTable
from srnas.machine import WARMUP, time_alternately
from srnas.progress import Progress
from srnas.spaces import (
    SpaceLike,
    check_space,
    derived_network,
    open_choices,
    published_genotype,
    spelled_out,
)


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
        size: Size (width, height) of the input in pixels.
        repeats: Number of runs of each network after the warm-up; their median counts.
        precision: Precision of the export; by default fp32.

    Raises:
        UserError: The space has no published network, or the runtime is not installed.
    """
    space = check_space(space)
    choices = open_choices(space).competing
    base = spelled_out(space, published_genotype(space))
    if any(label not in base.choices for label in choices):
        raise UserError(
            f"space {space.name!r} has cells; latency tables are for spaces without cells"
        )
    changed = [
        (label, value)
        for label, choice in choices.items()
        for value in choice.alternatives()
        if value != base.choices[label]
    ]
    genotypes = [base, *(_with(base, {label: value}) for label, value in changed)]
    setting = {
        "runtime": runtime,
        "precision": precision or "fp32",
        "threads": threads,
        "width": size[0],
        "height": size[1],
        "repeats": repeats,
    }
    base_ms, *others = _milliseconds(space, genotypes, setting)
    ms: dict[str, dict[str, float]] = {
        label: dict.fromkeys(choice.names, base_ms) for label, choice in choices.items()
    }
    for (label, value), time in zip(changed, others, strict=True):
        ms[label][str(value)] = time
    channels = {label: choice.shape for label, choice in choices.items()}
    return LatencyTable(space.to_dict(), setting, dict(base.choices), base_ms, ms, channels, {})


def check_prediction(table: LatencyTable, count: int) -> dict[str, Any]:
    """Measure random networks of the table's space as the table was, and compare with predictions.

    Args:
        count: Number of networks, at least 3; their choices at the positions are random, other
            choices are the base's.

    Returns:
        "spearman"; "error", the mean absolute error relative to the measured time; "networks",
        a row with "genotype", "predicted" and "measured" for each.
    """
    from scipy.stats import spearmanr

    space = check_space(table.space)
    base = Genotype(space.name, table.base)
    generator = random.Random(0)
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


def _milliseconds(
    space: SpaceLike, genotypes: Sequence[Genotype], setting: Mapping[str, Any]
) -> list[float]:
    """Return the median times of networks under a setting, measured in turns."""
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

        rows = time_alternately([one.call for one in opened], setting["repeats"], WARMUP, show)
    return [round(median(row), 4) for row in rows]


def _with(base: Genotype, changes: Mapping[str, Any]) -> Genotype:
    return Genotype(base.space, {**base.choices, **changes})
