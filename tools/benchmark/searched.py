"""Searches over the operations of a finished `srnas shrink`, for its budget.

    .venv/bin/python tools/benchmark/searched.py RUN --method sa_darts --seed 0 --out DIR
        [--steps 300] [--weight 10] [--threads 1]

RUN is the `--out` of a run in which only operations are open. The search starts from its network
(`init:`), with its outputs as targets (`teacher:`) and the expected latency beyond the budget as a
penalty. The genotype is that of the largest alphas; `budget.json` has the one whose product of
probabilities is largest among those within 3% below the budget, which `chance.py --genotype` takes.
"""

import argparse
import json
from math import log
from pathlib import Path

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from srnas.choice import Genotype
from srnas.data.images import list_images
from srnas.engine.search import search
from srnas.files import read_json, read_json_lines, write_json
from srnas.latency.table import LatencyTable
from srnas.options import load_options
from srnas.shrinking.choose import total
from srnas.shrinking.options import check_shrink_options
from srnas.shrinking.stages import Stages
from srnas.spaces import open_choices

WITHIN = 0.03  # of the budget, below it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--weight", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    options = check_shrink_options(
        {**read_json(arguments.run / "shrink/options.json"), "device": "cpu", "threads": 1}
    )
    run = Stages(options, arguments.run / "shrink")
    own, added = run.measure()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "latency.json"
    latency_table(run, own, added).save(table)
    count = sum(len(list_images(folder)) for folder in options.data)
    half = count // 2
    name = f"{arguments.method}_{arguments.seed}"
    training = options.training(run.original.space.to_dict(), {}, None, 1)
    changes = {
        "name": name,
        "experiments": str(arguments.out),
        "method": arguments.method,
        "space": run.original.space.to_dict(),
        "init": str(options.model),
        "teacher": training["teacher"],
        "seed": arguments.seed,
        "threads": arguments.threads,
        "device": "cpu",
        "data": {
            "train": {**training["data"]["train"], "images": f"1-{half}"},
            "alpha": {**training["data"]["train"], "images": f"{half + 1}-{count}"},
            "val": {"packaged": "val"},
            "batch_size": options.batch_size,
            "hr_patch": training["data"]["hr_patch"],
        },
        "epochs": 10,
        "steps_per_epoch": arguments.steps // 10,
        "warmup_epochs": 1,
        "stop_after_stable_epochs": None,
        "weight_optimizer": {"lr": {"name": "cosine", "start": 5e-4, "end": 1e-5}},
        "alpha_optimizer": {"lr": 0.02},
        "checkpoint_every": 50,
        "val_every_epochs": 10,
        "log_every": 50,
    }
    checked = load_options("search", Path("options/search/imdn_x2.yml"), changes=changes)
    penalty = {
        "term": {
            "name": "expected_cost",
            "cost": "latency",
            "table": str(table),
            "target": options.most(run.base),
        },
        "weight": arguments.weight,
    }
    found = [term.model_dump() for term in checked.regularizers]
    checked = load_options(
        "search",
        Path("options/search/imdn_x2.yml"),
        changes={**changes, "regularizers": [*found, penalty]},
    )
    file = search(checked, resume=(arguments.out / name / "options.yml").exists())
    project(run, own, added, Genotype.load(file), arguments.out / name)


def latency_table(run: Stages, own: float, added: list[float]) -> LatencyTable:
    ms: dict[str, dict[str, float]] = {}
    shapes = {}
    for label, choice in open_choices(run.original.space).items():
        ms[label] = dict.fromkeys(choice.names, own)
        shapes[label] = tuple(choice.shape)
    for one, cost in zip(run.offered, added, strict=True):
        ((label, value),) = one.changes.items()
        ms[label][value] = own + cost
    setting = {"from": str(run.options.out)}
    base = dict(run.original.genotype.choices)
    return LatencyTable(run.original.space.to_dict(), setting, base, own, ms, shapes, {})


def project(run: Stages, own: float, added: list[float], found: Genotype, folder: Path) -> None:
    """Choose by the probabilities at the end, for the budget."""
    last = read_json_lines(folder / "alphas.jsonl")[-1]
    probabilities = {
        label: dict(zip(last["candidates"][label], last["probabilities"][label], strict=True))
        for label in last["candidates"]
    }
    base, losses, argmax = run.original.genotype.choices, [], []
    for number, one in enumerate(run.offered):
        ((label, value),) = one.changes.items()
        row = probabilities[label]
        losses.append(log(row[base[label]]) - log(row[value]))
        if found.choices[label] == value:
            argmax.append(number)
    most = run.options.most(run.base)
    labels = [next(iter(one.changes)) for one in run.offered]
    covered = np.array([[label == other for other in labels] for label in sorted(set(labels))])
    solved = milp(
        np.array(losses),
        integrality=np.ones(len(losses)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(covered.astype(float), -np.inf, 1),
            LinearConstraint(np.array([added]), (1 - WITHIN) * most - own, most - own),
        ],
    )
    numbers = [int(n) for n in np.flatnonzero(solved.x > 0.5)]
    changes = {k: v for n in numbers for k, v in run.offered[n].changes.items()}
    write_json(folder / "budget.json", {**base, **changes})
    report = {
        "argmax_ms": total(run.offered, added, own, argmax),
        "budget_ms": total(run.offered, added, own, numbers),
        "moved": len(set(argmax) ^ set(numbers)),
    }
    write_json(folder / "projected.json", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
