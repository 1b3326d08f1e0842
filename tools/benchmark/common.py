"""What the benchmarks share: alternating clocks, the floor of convolutions, memory, tables."""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srnas.distributed import choose_device
from srnas.machine import keep_freed_memory, peak_memory, time_alternately
from srnas.machine import machine as name_of


def parse(parser: argparse.ArgumentParser, repeats: int) -> tuple[argparse.Namespace, torch.device]:
    """Parse the command line with the arguments that all benchmarks have; set the threads."""
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    return arguments, choose_device(arguments.device)


def alternate(
    calls: Mapping[str, Callable[[], object]], device: torch.device, repeats: int
) -> dict[str, float]:
    """Return the median milliseconds of several calls that take turns."""
    times = time_alternately(list(calls.values()), repeats, device=device)
    return {name: median(row) for name, row in zip(calls, times, strict=True)}


def dense_convolution(
    device: torch.device, batch: int, channels: int, side: int
) -> Callable[[], object]:
    """Return a dense 3x3 convolution, forward and backward: its FLOP/s are what is attainable."""
    x = torch.randn(batch, channels, side, side, device=device, requires_grad=True)
    x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device, requires_grad=True)
    weight = weight.to(memory_format=torch.channels_last)
    output = F.conv2d(x, weight, padding=1)
    gradient = torch.randn_like(output)

    def both() -> None:
        torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), gradient)

    return both


def flop(call: Callable[[], object]) -> int:
    """Count the floating point operations of convolutions and products of matrices in a call."""
    counted = {torch.ops.aten.convolution_backward: _backward_flop}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        call()
    return counter.get_total_flops()


def _backward_flop(
    gradient: Sequence[int], x: object, weight: Sequence[int], *rest: Any, **named: object
) -> int:
    """Count a convolution's backward pass; torch's own count forgets the groups.

    Each gradient takes what the forward pass takes. That of the bias is not counted.
    """
    of_x, of_weight, _ = rest[-1]
    batch, _, *size = gradient
    return (of_x + of_weight) * 2 * batch * math.prod(size) * math.prod(weight)


def memory_of(script: str, arguments: Sequence[str], device: torch.device) -> float:
    """Return the MiB at the peak of a fresh process that runs a script with `--only`.

    On a CPU it is the resident set, on CUDA what PyTorch allocated.
    """
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["memory"])


def own_peak(device: torch.device) -> float:
    """Return the MiB at the peak of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory(device) / 2**20


def differences(one: Sequence[torch.Tensor | None], other: Sequence[torch.Tensor | None]) -> float:
    """Return the largest difference of two lists of gradients, relative to the largest gradient.

    Gradients that are zero but for rounding, as of biases before BatchNorm, have no scale of their
    own.
    """
    pairs = [
        tuple(torch.zeros(()) if t is None else t.detach().float().cpu() for t in pair)
        for pair in zip(one, other, strict=True)
    ]
    scale = max(float(b.abs().max()) for _, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs) / scale


def show(rows: Sequence[Mapping[str, Any]], file: Path | None = None) -> None:
    """Print rows as a table, and write them as JSON if a file is given."""
    names = list(rows[0])
    cells = [[_text(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    for line in (names, *cells):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(list(rows), indent=2) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def machine(device: torch.device) -> str:
    """Return what the figures were measured on."""
    return f"{name_of(device)}, torch {torch.__version__}"
