"""The passes of a search step: ours against a plain loop over candidates, in turns.

    .venv/bin/python tools/benchmark/step.py [--space imdn] [--num-feat 64] [--num-block 6]
        [--batch 4] [--lr-size 32] [--partial 1 4] [--precision float32 bfloat16]
        [--threads 2] [--device auto] [--json FILE]

Prints for the weight step's passes (forward, backward to all weights) and the alpha step's
(backward to the alphas): medians, the ratio of both, peak memory of each in a process of its own,
the largest relative differences of loss and gradients, and the floor: the time that the FLOP of
ours take at the speed of a dense 3x3 convolution in float32, measured in turns with them.
"""

import argparse
import json

import torch
from common import (
    alternate,
    dense_convolution,
    differences,
    flop,
    machine,
    memory_of,
    own_peak,
    parse,
    show,
)
from plain import plain_supernet
from torch import Tensor

from srnas.choice import RelaxedBuilder, Supernet
from srnas.distributed import move
from srnas.spaces import space_builder


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which supernet and which batch."""
    parser.add_argument("--space", default="imdn", choices=("imdn", "dlsr"))
    parser.add_argument("--num-feat", type=int, default=64)
    parser.add_argument("--num-block", type=int, default=6)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr-size", type=int, default=32)


def build(arguments: argparse.Namespace, divisor: int, device: torch.device) -> Supernet:
    """Build the supernet with some alphas that are not equal."""
    torch.manual_seed(0)
    space = {"name": arguments.space, "scale": 2, "num_feat": arguments.num_feat}
    blocks = {"imdn": "num_block", "dlsr": "num_cell"}[arguments.space]
    space[blocks] = arguments.num_block
    choose = RelaxedBuilder(partial_channels=divisor)
    supernet = Supernet(space_builder(space), arguments.space, choose=choose, alpha_std=0.5)
    return move(supernet, device)


class Passes:
    """The passes of a step on a fixed batch."""

    def __init__(
        self, supernet: Supernet, device: torch.device, arguments: argparse.Namespace, half: bool
    ) -> None:
        torch.manual_seed(1)
        side = arguments.lr_size
        self.lr = torch.rand(arguments.batch, 3, side, side, device=device)
        self.hr = torch.rand(arguments.batch, 3, 2 * side, 2 * side, device=device)
        self.supernet, self.device, self.half = supernet, device, half

    def loss(self) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            sr = self.supernet(self.lr)
        return (sr.float() - self.hr).abs().mean()

    def weight_pass(self) -> tuple[Tensor, list[Tensor | None]]:
        loss = self.loss()
        found = torch.autograd.grad(loss, self.supernet.weight_parameters(), allow_unused=True)
        return loss, list(found)

    def alpha_pass(self) -> tuple[Tensor, list[Tensor | None]]:
        loss = self.loss()
        return loss, list(torch.autograd.grad(loss, self.supernet.arch_parameters()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--partial", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--only", choices=("ours", "plain"), help="one pass, for its memory")
    arguments, device = parse(parser, 7)
    if arguments.only:
        supernet = build(arguments, arguments.partial[0], device)
        if arguments.only == "plain":
            supernet = plain_supernet(supernet)
        half = arguments.precision[0] == "bfloat16"
        Passes(supernet, device, arguments, half).weight_pass()
        print(json.dumps({"memory": own_peak(device)}))
        return
    print(machine(device))
    rows = []
    for divisor in arguments.partial:
        for precision in arguments.precision:
            rows += measure(arguments, divisor, precision, device)
    show(rows, arguments.json)


def measure(
    arguments: argparse.Namespace, divisor: int, precision: str, device: torch.device
) -> list[dict[str, object]]:
    """Return a row for the weight step's passes and one for the alpha step's."""
    half = precision == "bfloat16"
    supernet = build(arguments, divisor, device)
    both = {
        "ours": Passes(supernet, device, arguments, half),
        "plain": Passes(plain_supernet(supernet), device, arguments, half),
    }
    given = [
        "--space", arguments.space, "--num-feat", str(arguments.num_feat),
        "--num-block", str(arguments.num_block), "--batch", str(arguments.batch),
        "--lr-size", str(arguments.lr_size), "--threads", str(arguments.threads),
        "--device", str(device), "--partial", str(divisor), "--precision", precision,
    ]  # fmt: skip
    memory = {
        name: memory_of(__file__, [*given, "--only", name], device) for name in ("ours", "plain")
    }
    conv = dense_convolution(device, arguments.batch, arguments.num_feat, arguments.lr_size)
    rows: list[dict[str, object]] = []
    for kind in ("weight", "alpha"):
        calls = {name: getattr(passes, f"{kind}_pass") for name, passes in both.items()}
        (loss, gradients), (their_loss, their_gradients) = (call() for call in calls.values())
        times = alternate({**calls, "conv": conv}, device, arguments.repeats)
        floor = times["conv"] * flop(calls["ours"]) / flop(conv)
        rows.append(
            {
                "K": divisor,
                "precision": precision,
                "passes": kind,
                "ours ms": times["ours"],
                "plain ms": times["plain"],
                "ratio": times["plain"] / times["ours"],
                "GFLOP": flop(calls["ours"]) / 1e9,
                "plain GFLOP": flop(calls["plain"]) / 1e9,
                "floor ms": floor,
                "of floor": times["ours"] / floor,
                "ours MiB": memory["ours"] if kind == "weight" else None,
                "plain MiB": memory["plain"] if kind == "weight" else None,
                "loss diff": abs(loss.item() / their_loss.item() - 1),
                "grad diff": differences(gradients, their_gradients),
            }
        )
    return rows


if __name__ == "__main__":
    main()
