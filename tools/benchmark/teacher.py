"""A training step without a teacher, with its outputs for whole images, and with those on patches.

    .venv/bin/python tools/benchmark/teacher.py [--opt train/plain_s_x2.yml] [--teacher default]
        [--threads 1] [--device auto] [--json FILE] [key.path=value ...]

All take steps of the same options on packaged photographs, in turns; cutting patches is part of a
step. Prints medians and ratios to the step without a teacher.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from common import alternate, machine, parse, show

from srnas.distributed import Process, move
from srnas.engine.train import Trainer
from srnas.options import load_options
from srnas.spaces import derived_network, published_genotype

STEPS = 10  # of a measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opt", type=Path, default=Path("train/plain_s_x2.yml"))
    parser.add_argument("--teacher", default="default")
    parser.add_argument("overrides", nargs="*")
    arguments, device = parse(parser, 15)
    print(machine(device))
    with tempfile.TemporaryDirectory() as folder:
        teacher = f"teacher={{model: '{arguments.teacher}', cache: '{folder}'}}"
        kinds = {
            "no teacher": ["teacher=null"],
            "whole images": [teacher],
            "patches": [teacher, "teacher.on=patches"],
        }
        steps = {
            name: several(trainer(arguments.opt, [*arguments.overrides, *more], device))
            for name, more in kinds.items()
        }
        times = alternate(steps, device, arguments.repeats)
    rows = [
        {"teacher": name, "ms": ms / STEPS, "ratio": ms / times["no teacher"]}
        for name, ms in times.items()
    ]
    show(rows, arguments.json)


def trainer(file: Path, overrides: Sequence[str], device: torch.device) -> Trainer:
    photographs = ["data.train={packaged: train+alpha}", "data.val={packaged: val}"]
    options = load_options("train", file, [*photographs, "genotype=null", *overrides])
    torch.manual_seed(0)
    genotype = published_genotype(options.space.name)
    network = move(derived_network(options.space, genotype), device)
    task, (batches,) = options.task.open(options, Process(device), network, ("train",))
    return Trainer(options, network, task, batches)


def several(trainer: Trainer) -> Callable[[], None]:
    count = iter(range(trainer.options.steps))

    def run() -> None:
        for _ in range(STEPS):
            trainer.step(next(count))

    return run


if __name__ == "__main__":
    main()
