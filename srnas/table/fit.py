"""Make a table from results: choose a surrogate, predict all genotypes, report how well."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from srnas.choice import Genotype
from srnas.components import Component
from srnas.engine.sample import all_genotypes, count_genotypes, sample_genotypes
from srnas.errors import UserError
from srnas.latency.table import LatencyTable
from srnas.score_table import Row, write_table
from srnas.spaces import derived_network, open_choices
from srnas.table.build import check_protocol
from srnas.table.protocol import Protocol, count_costs
from srnas.table.results import Result
from srnas.table.surrogate import (
    Encoder,
    Measured,
    Quality,
    ceiling,
    cross_validate,
    measured,
    models,
)
from srnas.tasks import task_of_space

FIGURE = "psnr"
ENUMERABLE = 100_000  # of larger spaces, a sample of this many genotypes is predicted
LEAST = 30  # genotypes to fit a surrogate to


def fit(
    protocol: Protocol,
    results: Sequence[Result],
    out: Path,
    latency: Mapping[str, float] | LatencyTable | None = None,
) -> dict[str, Any]:
    """Fit a surrogate to results and write a table.

    The model with the smallest cross-validated root mean square error on the validation PSNR is
    taken, and fitted anew to all results; it then predicts every set.

    Args:
        out: Table to write.
        latency: Measured milliseconds by genotype, see `srnas.table.latency`; or times of the
            candidates.

    Returns:
        The report: noise of retraining, quality of each model, what noise alone would allow, and
        the quality of the chosen model on each set.

    Raises:
        UserError: There are too few results, they belong to another protocol, or the latency table
            is of another space.
    """
    check_protocol(results, protocol, out)
    space = protocol.training(0).space
    if isinstance(latency, LatencyTable) and latency.space != space.to_dict():
        raise UserError(f"the latency table is of space {latency.space}, not {space.to_dict()}")
    val = measured(results, space.name, "val", FIGURE)
    if len(val.genotypes) < LEAST:
        raise UserError(
            f"{len(val.genotypes)} genotypes are trained, a surrogate needs {LEAST}; "
            "continue with srnas table build"
        )
    encoder = Encoder(space)
    x = encoder(val.genotypes)
    predicted = {
        name: cross_validate(model, x, val.values, val.counts)
        for name, model in models(encoder).items()
    }
    quality = {name: Quality.of(p, val.values) for name, p in predicted.items()}
    chosen = min(quality, key=lambda name: quality[name].rms_error)
    sets = {
        name: measured(results, space.name, name, FIGURE)
        for name in results[0].scores
        if name != "val"
    }
    report = {
        "protocol": protocol.identity(),
        "genotypes": len(val.genotypes),
        "trainings": len(results),
        "model": chosen,
        "val": _describe(val, quality[chosen]),
        "models": {name: asdict(q) for name, q in quality.items()},
        "sets": {
            name: _describe(
                values,
                Quality.of(
                    cross_validate(models(encoder)[chosen], x, values.values, values.counts),
                    values.values,
                ),
            )
            for name, values in sets.items()
        },
    }
    rows = _rows(protocol, encoder, chosen, val, sets, results, latency or {}, report)
    about = {"space": space.to_dict(), "name": protocol.name, "report": report}
    write_table(out, about, rows)
    return report


def _describe(values: Measured, quality: Quality) -> dict[str, Any]:
    """Return noise, spread, and the quality of predictions beside what noise alone allows."""
    return {
        "noise": values.noise,
        "retraining": values.retraining,
        "seed_effects": {str(seed): effect for seed, effect in values.effects.items()},
        "repeated": len(values.repeats),
        "mean": float(values.values.mean()),
        "spread": float(values.values.std()),
        "quality": asdict(quality),
        "ceiling": asdict(ceiling(values.values, values.counts, values.noise)),
    }


def _rows(
    protocol: Protocol,
    encoder: Encoder,
    chosen: str,
    val: Measured,
    sets: Mapping[str, Measured],
    results: Sequence[Result],
    latency: Mapping[str, float] | LatencyTable,
    report: dict[str, Any],
) -> list[Row]:
    space = protocol.training(0).space
    everything = predicted_genotypes(space, val.genotypes)
    x, known = encoder(everything), encoder(val.genotypes)
    predictions = {
        name: models(encoder)[chosen].fit(known, values.values, values.counts).predict(x)
        for name, values in {"val": val, **sets}.items()
    }
    params, macs = costs(space, everything, results)
    milliseconds: list[float | None] = [None] * len(everything)
    if isinstance(latency, LatencyTable):
        quality = {name: latency.check[name] for name in ("spearman", "error") if latency.check}
        report["latency"] = {"settings": latency.setting, "quality": quality}
        milliseconds = [latency.predict(genotype) for genotype in everything]
    elif latency:
        timed = [g for g in everything if str(g) in latency]
        times = np.array([latency[str(g)] for g in timed])
        features, ones = encoder(timed), np.ones(len(timed))
        model = models(encoder)["additive"]
        report["latency"] = {
            "measured": len(timed),
            "settings": protocol.latency.model_dump(),
            "quality": asdict(Quality.of(cross_validate(model, features, times, ones), times)),
        }
        milliseconds = list(model.fit(features, times, ones).predict(x))
    means = {
        str(g): (float(v), int(n))
        for g, v, n in zip(val.genotypes, val.values, val.counts, strict=True)
    }
    return [
        Row(
            str(genotype),
            float(predictions["val"][i]),
            means.get(str(genotype), (None, 0))[0],
            means.get(str(genotype), (None, 0))[1],
            {name: float(predictions[name][i]) for name in sets},
            params[i],
            macs[i],
            milliseconds[i],
        )
        for i, genotype in enumerate(everything)
    ]


def predicted_genotypes(space: Component[Any], trained: Sequence[Genotype]) -> list[Genotype]:
    """Return all genotypes, or of a large space a sample and those that were trained."""
    if count_genotypes(open_choices(space)) <= ENUMERABLE:
        return list(all_genotypes(space))
    sample = sample_genotypes(space, ENUMERABLE // 5, 0)
    return list({str(g): g for g in [*trained, *sample]}.values())


def costs(
    space: Component[Any], genotypes: Sequence[Genotype], results: Sequence[Result] = ()
) -> tuple[list[int], list[int]]:
    """Return parameters and MACs of genotypes.

    Where every choice is a candidate at a position, costs add up over the positions, and one
    network for each candidate is counted. Otherwise every network is.

    Args:
        results: Results whose counted costs must agree.

    Raises:
        UserError: A result has another cost than its genotype, which was counted by another srnas.
    """
    choices = open_choices(space)
    additive = all(choice.adds_up for choice in choices.whole)
    task = task_of_space(space.name)

    def count(choices: Mapping[str, Any]) -> tuple[int, int]:
        return count_costs(task, derived_network(space, Genotype(space.name, dict(choices))))

    if additive:
        base = genotypes[0].choices
        start = count(base)
        change = {
            (label, name): tuple(
                a - b for a, b in zip(count({**base, label: name}), start, strict=True)
            )
            for label, choice in choices.items()
            for name in choice.alternatives()
        }
        totals = [
            tuple(start[k] + sum(change[item][k] for item in g.choices.items()) for k in (0, 1))
            for g in genotypes
        ]
    else:
        totals = [count(g.choices) for g in genotypes]
    found = {str(g): total for g, total in zip(genotypes, totals, strict=True)}
    for result in results:
        genotype = result.genotype(space.name)
        if found.get(str(genotype), (result.params, result.macs)) != (result.params, result.macs):
            raise UserError(
                f"{genotype}: {found[str(genotype)]} parameters and MACs, but the results say "
                f"{(result.params, result.macs)}; they come from another space or version"
            )
    return [total[0] for total in totals], [total[1] for total in totals]
