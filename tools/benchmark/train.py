"""A step of the training of a derived network: ours, a plain eager loop, and BasicSR's.

    .venv/bin/python tools/benchmark/train.py [--genotype FILE] [--num-feat 64] [--num-block 6]
        [--batch 16] [--lr-size 24] [--threads 2] [--device auto] [--json FILE]

All take Adam steps on the same batch with a moving average of the weights; cutting patches is not
part of it. Prints medians, ratios to ours, and the largest difference of the weights after the
first step, relative to the largest change.
"""

import argparse
import copy
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from common import alternate, machine, parse, show
from plain import plain
from torch import nn

from srnas.basicsr_bridge import basicsr
from srnas.choice import Genotype
from srnas.distributed import Process, move
from srnas.engine.train import Trainer
from srnas.inherit import RECIPES
from srnas.options import load_options
from srnas.spaces import derived_network, published_genotype

LR, DECAY = 1e-3, 0.999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotype", type=Path)
    parser.add_argument("--num-feat", type=int, default=64)
    parser.add_argument("--num-block", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr-size", type=int, default=24)
    arguments, device = parse(parser, 9)
    genotype = Genotype.load(arguments.genotype) if arguments.genotype else None
    genotype = genotype or published_genotype("imdn")
    space = {"name": "imdn", "num_feat": arguments.num_feat, "num_block": arguments.num_block}
    torch.manual_seed(0)
    network = derived_network(space, genotype)
    side = arguments.lr_size
    batch = tuple(
        torch.rand(arguments.batch, 3, factor * side, factor * side).to(device) for factor in (1, 2)
    )
    print(machine(device))
    steps = {
        "ours": ours(network, space, batch, device),
        "plain": eager(network, batch, device),
        "BasicSR": basicsr_model(network, batch, device),
    }
    before = [p.detach().clone().cpu() for p in network.parameters()]
    moved = {name: [p.detach().cpu() for p in step()] for name, step in steps.items()}
    largest = max(float((a - b).abs().max()) for a, b in zip(moved["plain"], before, strict=True))
    times = alternate(steps, device, arguments.repeats)
    rows = [
        {
            "step": name,
            "ms": times[name],
            "ratio": times[name] / times["ours"],
            "difference": max(
                float((a - b).abs().max()) for a, b in zip(moved[name], moved["plain"], strict=True)
            )
            / largest,
        }
        for name in steps
    ]
    show(rows, arguments.json)


Step = Callable[[], list[nn.Parameter]]


def ours(network: nn.Module, space: dict, batch: tuple, device: torch.device) -> Step:
    overrides = [f"space.{key}={value}" for key, value in space.items() if key != "name"]
    overrides += [f"device={device}", f"ema={DECAY}", f"optimizer.lr={LR}"]
    options = load_options("train", RECIPES / "train/imdn_demo.yml", overrides)
    mine = move(copy.deepcopy(network), device)
    task, _ = options.task.open(options, Process(device), mine, ("train",))
    trainer = Trainer(options, mine, task, _Same(batch))
    count = iter(range(10**9))

    def step() -> list[nn.Parameter]:
        trainer.step(next(count) % options.steps)
        return list(mine.parameters())

    return step


class _Same:
    """Batches that are always the same."""

    def __init__(self, batch: tuple) -> None:
        self.batch = batch

    def __next__(self) -> tuple:
        return self.batch

    def state_dict(self) -> dict:
        return {}


def eager(network: nn.Module, batch: tuple, device: torch.device) -> Step:
    """The usual loop: Adam, and a moving average by a loop over the parameters."""
    mine = plain(network).to(device)
    average = copy.deepcopy(mine)
    optimizer = torch.optim.Adam(mine.parameters(), lr=LR, betas=(0.9, 0.999))
    lr, hr = batch

    def step() -> list[nn.Parameter]:
        optimizer.zero_grad()
        (mine(lr) - hr).abs().mean().backward()
        optimizer.step()
        with torch.no_grad():
            for mean, value in zip(average.parameters(), mine.parameters(), strict=True):
                mean.mul_(DECAY).add_(value, alpha=1 - DECAY)
        return list(mine.parameters())

    return step


def basicsr_model(network: nn.Module, batch: tuple, device: torch.device) -> Step:
    """BasicSR's SRModel on the plain network; its optimize_parameters is the step."""
    logging.disable(logging.WARNING)
    models = basicsr("models.sr_model")
    build = models.build_network
    models.build_network = lambda _: plain(network)
    model = models.SRModel(
        {
            "num_gpu": 0 if device.type == "cpu" else 1,
            "dist": False,
            "is_train": True,
            "network_g": {"type": "any"},
            "path": {"pretrain_network_g": None},
            "train": {
                "ema_decay": DECAY,
                "optim_g": {"type": "Adam", "lr": LR, "betas": [0.9, 0.999]},
                "scheduler": {"type": "MultiStepLR", "milestones": [10**9], "gamma": 0.5},
                "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
            },
        }
    )
    models.build_network = build
    lr, hr = batch
    model.feed_data({"lq": lr, "gt": hr})
    count = iter(range(1, 10**9))

    def step() -> list[nn.Parameter]:
        model.optimize_parameters(next(count))
        return list(model.net_g.parameters())

    return step


if __name__ == "__main__":
    main()
