"""Where the time of a search step's passes goes, by kind of operation and precision.

    .venv/bin/python tools/benchmark/breakdown.py [--space imdn] [--num-feat 64] [--num-block 6]
        [--batch 4] [--lr-size 32] [--partial 1] [--repeats 5] [--json FILE]

Milliseconds of the operations themselves as torch's profiler counts them on a CPU, medians of
passes that take turns between the precisions. "rest" is what the passes take beyond the listed
kinds: small operations, and Python.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

from common import machine, parse, show
from step import Passes, add_size, build
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "native_batch_norm": "BatchNorm",
    "native_batch_norm_backward": "BatchNorm",
    "add": "additions",
    "add_": "additions",
    "sum": "additions",
    "copy_": "casts, copies",
    "cat": "casts, copies",
    "mul": "products",
    "leaky_relu": "activations",
    "leaky_relu_": "activations",
    "leaky_relu_backward": "activations",
    "threshold_backward": "activations",
    "clamp_min": "activations",
}
CONVOLUTIONS = ("mkldnn_convolution", "convolution_backward", "_slow_conv2d_forward")
ORDER = [
    "dense convolutions",
    "pointwise",
    "depthwise",
    *dict.fromkeys(KINDS.values()),
]


def kind_of(name: str, shapes: Any) -> str | None:
    """Return the kind of an operation, from its name and the shapes of its arguments."""
    name = name.removeprefix("aten::")
    if name not in CONVOLUTIONS:
        return KINDS.get(name)
    weight = shapes[2] if name == "convolution_backward" else shapes[1]
    if weight[1] == 1 and weight[0] > 1:
        return "depthwise"
    return "pointwise" if weight[2] == 1 else "dense convolutions"


def breakdown(call: Callable[[], object]) -> dict[str, float]:
    """Return milliseconds by kind, and "all" of one call."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        call()
    spent: defaultdict[str, float] = defaultdict(float)
    for event in profiled.key_averages(group_by_input_shape=True):
        kind = kind_of(event.key, event.input_shapes)
        milliseconds = event.self_cpu_time_total / 1e3
        spent["all"] += milliseconds
        if kind:
            spent[kind] += milliseconds
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_size(parser)
    parser.add_argument("--partial", type=int, default=1)
    arguments, device = parse(parser, 5)
    print(machine(device))
    supernet = build(arguments, arguments.partial, device)
    rows = []
    for kind in ("weight", "alpha"):
        taken: dict[str, list[dict[str, float]]] = {"float32": [], "bfloat16": []}
        for turn in range(arguments.repeats + 1):
            for precision, found in taken.items():
                passes = Passes(supernet, device, arguments, precision == "bfloat16")
                spent = breakdown(getattr(passes, f"{kind}_pass"))
                if turn:  # the first is to warm up
                    found.append(spent)
        middle = {
            precision: {
                name: median(one.get(name, 0.0) for one in found) for name in [*ORDER, "all"]
            }
            for precision, found in taken.items()
        }
        for spent in middle.values():
            spent["rest"] = spent["all"] - sum(spent[name] for name in ORDER)
        for name in [*ORDER, "rest", "all"]:
            one, half = middle["float32"][name], middle["bfloat16"][name]
            ratio = one / half if half else None
            rows.append(
                {
                    "passes": kind,
                    "kind": name,
                    "float32 ms": one,
                    "bfloat16 ms": half,
                    "ratio": ratio,
                }
            )
    show(rows, arguments.json)


if __name__ == "__main__":
    main()
