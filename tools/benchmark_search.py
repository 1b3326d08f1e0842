"""Measure the time of a search step, with and without merged kernels.

    .venv/bin/python tools/benchmark_search.py [OPTIONS.yml] [key.path=value ...]

Prints the medians over repeated weight steps and alpha steps in milliseconds, for the device and
batch in the options. By default these are the options of the demo's search with 32 channels and a
batch of 16.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from srnas.distributed import start
from srnas.engine.stepper import SearchStepper, build_supernet
from srnas.options import SearchOptions, load_options

REPEATS = 15


def milliseconds(step: Callable[[], None], device: torch.device) -> float:
    """Return the median time of a call in milliseconds, after three warm-up calls."""
    times = []
    for _ in range(REPEATS + 3):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[3:])


def measure(options: SearchOptions, divisor: int, merge: bool) -> tuple[float, float]:
    """Return the times of a weight step and an alpha step in milliseconds.

    Args:
        options: Options of the search.
        divisor: K, the divisor of partial channels.
        merge: Whether linear candidates run as one convolution, see `MixedOp`.
    """
    process = start(options.device, options.threads)
    torch.manual_seed(0)
    stepper = SearchStepper(options, process, build_supernet(options, divisor, merge))
    stepper.begin(options.steps // 2)
    train, alpha = next(stepper.train_batches), next(stepper.alpha_batches)
    return (
        milliseconds(lambda: stepper.weight_step(train), process.device),
        milliseconds(lambda: stepper.alpha_step(alpha), process.device),
    )


def main() -> None:
    """Print a table for K = 1 and 4, without and with merged kernels."""
    file, *overrides = sys.argv[1:] or [
        "options/search/imdn_sac_demo.yml",
        "space.num_feat=32",
        "data.batch_size=16",
    ]
    options = load_options("search", file, overrides)
    data = options.data
    print(f"{options.space.to_dict()}, batch {data.batch_size}, HR patch {data.hr_patch}")
    print(f"{'K':>3} {'kernels':>10} {'weight step':>12} {'alpha step':>12}   ms, median")
    for divisor in (1, 4):
        for merge in (False, True):
            weight, alpha = measure(options, divisor, merge)
            kernels = "merged" if merge else "one by one"
            print(f"{divisor:>3} {kernels:>10} {weight:>12.0f} {alpha:>12.0f}")


if __name__ == "__main__":
    main()
