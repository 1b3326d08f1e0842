"""The evaluation of a benchmark set: `srnas test`'s loop against BasicSR's, with equal results.

    .venv/bin/python tools/benchmark/evaluate.py --data DIR [--weights IMDN_x2.pth] [--scale 2]
        [--repeats 3] [--threads 2] [--device auto] [--json FILE]

DIR has HR/ and LR_bicubic/X2/, as `srnas test` takes it. Prints the median seconds of whole loops
(reading, network, PSNR and SSIM), the ratio, and the PSNR of both.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import machine, parse, show
from plain import plain

from srnas.basicsr_bridge import basicsr
from srnas.data.images import benchmark_pairs
from srnas.model_file import load_published
from srnas.spaces import derived_network, published_genotype
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, evaluate
from srnas.tasks.super_resolution.protocols import PROTOCOLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--scale", type=int, default=2)
    arguments, device = parse(parser, 3)
    torch.manual_seed(0)
    space = {"name": "imdn", "scale": arguments.scale}
    if arguments.weights:
        network = load_published(arguments.weights, space).network
    else:
        network = derived_network(space, published_genotype("imdn"))
    loops = {
        "srnas": _srnas(network, arguments, device),
        "BasicSR": _basicsr(network, arguments, device),
    }
    print(machine(device))
    psnr, times = {}, {name: [] for name in loops}
    for _ in range(arguments.repeats):
        for name, loop in loops.items():
            began = time.perf_counter()
            psnr[name] = loop()
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(row) for name, row in times.items()}
    rows = [
        {
            "loop": name,
            "seconds": medians[name],
            "ratio": medians[name] / medians["srnas"],
            "PSNR": f"{psnr[name]:.4f}",
        }
        for name in loops
    ]
    show(rows, arguments.json)


def _srnas(network: torch.nn.Module, arguments: argparse.Namespace, device: torch.device):
    pairs = benchmark_pairs(arguments.data, arguments.scale)
    upscale = NetworkUpscale(network, device)

    def loop() -> float:
        return evaluate(upscale, pairs, arguments.scale, PROTOCOLS["basicsr"])["psnr"]

    return loop


def _basicsr(
    network: torch.nn.Module, arguments: argparse.Namespace, device: torch.device
) -> Callable[[], float]:
    logging.disable(logging.WARNING)
    models, data = basicsr("models.sr_model"), basicsr("data")
    models.build_network = lambda _: plain(network)
    metric = {"crop_border": arguments.scale, "test_y_channel": True}
    model = models.SRModel(
        {
            "num_gpu": 0 if device.type == "cpu" else 1,
            "dist": False,
            "is_train": False,
            "rank": 0,
            "network_g": {"type": "any"},
            "path": {"pretrain_network_g": None},
            "val": {
                "metrics": {
                    "psnr": {"type": "calculate_psnr", **metric},
                    "ssim": {"type": "calculate_ssim", **metric},
                }
            },
        }
    )
    options = {
        "name": "set",
        "type": "PairedImageDataset",
        "dataroot_gt": str(arguments.data / "HR"),
        "dataroot_lq": str(arguments.data / f"LR_bicubic/X{arguments.scale}"),
        "filename_tmpl": f"{{}}x{arguments.scale}",
        "io_backend": {"type": "disk"},
        "phase": "val",
        "scale": arguments.scale,
    }

    def loop() -> float:
        images = data.build_dataset(dict(options))
        loader = data.build_dataloader(images, {"phase": "val"}, num_gpu=0, dist=False)
        model.nondist_validation(loader, 0, None, save_img=False)
        return float(model.metric_results["psnr"])

    return loop


if __name__ == "__main__":
    main()
