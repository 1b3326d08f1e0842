"""The scorecard: the figures that the NTIRE challenges on efficient super-resolution report.

See Ren et al., The Ninth NTIRE 2024 Efficient Super-Resolution Challenge Report, CVPRW 2024, and
test_demo.py in github.com/Amazingren/NTIRE2025_ESR. Parameters, MACs (called FLOPs there) and
activations are counted as there. The challenges take the mean runtime and the largest memory over
their own images, at x4; the scorecard takes the median runtime over a set, after a warm-up, and the
memory for one LR size.
"""

import copy
import math
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from srnas.cost import count_activations, count_macs
from srnas.data.images import ImagePair
from srnas.distributed import choose_device, move
from srnas.machine import allocated_by, time_alternately
from srnas.progress import track
from srnas.tasks.super_resolution.evaluate import to_tensor
from srnas.tasks.super_resolution.options import TestOptions
from srnas.tasks.super_resolution.protocols import PROTOCOLS, Protocol

WIDTH, HEIGHT = 256, 256  # of the LR image
RUNS = 20  # the least number of timed passes, for sets of few images


def card_protocols(main: str) -> tuple[Protocol, Protocol]:
    """Return the protocols on RGB and on Y: `ntire_esr`, and the main one or else `basicsr`."""
    rgb = PROTOCOLS["ntire_esr"]
    return rgb, PROTOCOLS["basicsr" if main == rgb.name else main]


def scorecard(
    options: TestOptions,
    networks: Sequence[nn.Module],
    tested: Sequence[dict[str, Any]],
    pairs: Sequence[ImagePair],
) -> dict[str, Any]:
    """Return the figures of every model, side by side.

    Args:
        options: Options of the test, with its scale.
        networks: The networks, the main one first, in evaluation mode. They are moved to the device
            and to channels-last memory format.
        tested: {"params", "results"} of each, see `benchmark.test`; the results are "explained" by
            `card_protocols` at least.
        pairs: The first set, whose LR images are timed.

    Returns:
        {"lr", "device", "rgb", "y", "timed_on", "models": [{"model", "psnr_rgb", "psnr_y",
        "params", "macs", "activations", "peak_memory", "runtime_ms"}]}: the LR size of the costs
        ("256x256"), the device, the two protocols, the set that is timed, and for each model its
        file, PSNR in dB by set, counts, bytes of `peak_memory`, and median milliseconds per image.
    """
    rgb, y = card_protocols(options.protocol)
    assert options.scale, options
    device = choose_device(options.device)
    networks = [move(network, device) for network in networks]
    runtimes = _runtimes(networks, pairs, options.scale, device)
    models = [
        {
            "model": str(file),
            "psnr_rgb": _psnr(one["results"], rgb),
            "psnr_y": _psnr(one["results"], y),
            "params": one["params"],
            "macs": count_macs(network, WIDTH, HEIGHT),
            "activations": count_activations(network, WIDTH, HEIGHT),
            "peak_memory": _peak_memory(network, device),
            "runtime_ms": runtime,
        }
        for file, network, one, runtime in zip(
            options.files, networks, tested, runtimes, strict=True
        )
    ]
    cuda = device.type == "cuda"
    cpu = f"{device.type} (threads: {torch.get_num_threads()})"
    return {
        "lr": f"{WIDTH}x{HEIGHT}",
        "device": torch.cuda.get_device_name(device) if cuda else cpu,
        "rgb": rgb.name,
        "y": y.name,
        "timed_on": tested[0]["results"][0]["dataset"],
        "models": models,
    }


@torch.inference_mode()
def _peak_memory(network: nn.Module, device: torch.device) -> int | None:
    """Return the bytes at the peak of a pass over a 256x256 LR image, the weights included."""

    def run() -> None:
        alone = copy.deepcopy(network)  # so that its own weights count
        alone(torch.rand(1, 3, HEIGHT, WIDTH, device=device))

    return allocated_by(run, device)


@torch.inference_mode()
def _runtimes(
    networks: Sequence[nn.Module], pairs: Sequence[ImagePair], scale: int, device: torch.device
) -> list[float]:
    """Return the median milliseconds of each network for an image.

    All networks take an image in turn, so that a drift of the machine's speed meets all. The first
    turn is a warm-up, as memory and kernels depend on the image's size.
    """
    times: list[list[float]] = [[] for _ in networks]
    turns = math.ceil(RUNS / len(pairs))
    for pair in track(pairs, "runtime"):
        image = to_tensor(pair.load(scale)[0], device)
        calls = [partial(network, image) for network in networks]
        for row, more in zip(times, time_alternately(calls, turns, 1, device=device), strict=True):
            row += more
    return [median(measured) for measured in times]


def _psnr(results: Sequence[dict[str, Any]], protocol: Protocol) -> dict[str, float]:
    return {
        one["dataset"]: row["psnr"]
        for one in results
        for row in one["explained"]
        if row["protocol"] == protocol.name
    }
