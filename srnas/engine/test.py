"""A model on benchmark sets, with bicubic beside it."""

from itertools import chain
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from srnas.choice import Genotype
from srnas.cost import count_parameters
from srnas.data.bicubic import resize_uint8
from srnas.data.images import ImagePair, benchmark_pairs
from srnas.data.packaged import packaged_pairs
from srnas.engine.distributed import choose_device
from srnas.engine.evaluate import NetworkUpscale, bicubic, evaluate
from srnas.errors import UserError
from srnas.export.model_file import Model, load_model, load_published
from srnas.metrics import EVERY_PROTOCOL, PROTOCOLS
from srnas.options import TestOptions


def test(options: TestOptions) -> dict[str, Any]:
    """Evaluate the options' model on their sets.

    A set is a folder (`benchmark_pairs`) or "packaged" for the packaged test photographs.
    All images are read once before the first is evaluated, so that a
    broken one is told at once. Returns {"scale",
    "protocol", "params", "results": [{"dataset", "lr_source", "psnr", "ssim", "bicubic":
    {"psnr", "ssim"}, "images": [...]}]}; see `evaluate` for "explained" and `_lr_check` for
    "lr_difference_to_bicubic".
    """
    sets = {
        name: packaged_pairs("test")
        if str(folder) == "packaged"
        else benchmark_pairs(folder, options.scale, options.lr == "files")
        for name, folder in options.data.items()
    }
    for pair in chain.from_iterable(sets.values()):
        pair.read(options.scale)
    model = open_model(options)
    if model.scale != options.scale:
        raise UserError(f"the model enlarges x{model.scale}, but scale is {options.scale}")
    device = choose_device(options.device)
    upscale = NetworkUpscale(model.network, device, options.self_ensemble)
    protocol = PROTOCOLS[options.protocol]
    others = EVERY_PROTOCOL if options.explain else ()
    results = []
    for name, pairs in sets.items():
        folder = options.save_images / name if options.save_images else None
        measured = evaluate(upscale, _shown(pairs, name), options.scale, protocol, folder, others)
        plain = evaluate(bicubic(options.scale), pairs, options.scale, protocol)
        results.append(
            {
                "dataset": name,
                "lr_source": "files" if pairs[0].lr else "bicubic made from HR",
                "psnr": measured["psnr"],
                "ssim": measured["ssim"],
                "bicubic": {"psnr": plain["psnr"], "ssim": plain["ssim"]},
                "images": measured["images"],
                **({"explained": measured["explained"]} if others else {}),
                **_lr_check(pairs, options.scale),
            }
        )
    return {
        "scale": options.scale,
        "protocol": options.protocol,
        "self_ensemble": options.self_ensemble,
        "params": count_parameters(model.network),
        "genotype": model.genotype.choices,
        "results": results,
    }


def _lr_check(pairs: list[ImagePair], scale: int) -> dict[str, float]:
    """How far given LR files are from MATLAB's bicubic: mean difference in levels of 255.

    The files of the usual sets are 0.15 away, by rounding; a warning is due above 0.5.
    """
    if pairs[0].lr is None:
        return {}
    differences = []
    for pair in pairs:
        lr, hr = pair.load(scale)
        made = resize_uint8(hr, 1 / scale)
        differences.append(np.abs(made.astype(np.int16) - lr).mean())
    return {"lr_difference_to_bicubic": float(np.mean(differences))}


def open_model(options: TestOptions) -> Model:
    """The model file, or the weights in their space."""
    if options.model:
        return load_model(options.model)
    genotype = Genotype.load(options.genotype) if options.genotype else None
    return load_published(options.weights, options.space, genotype)


def _shown(pairs: list[ImagePair], name: str) -> Any:
    console = Console(stderr=True)
    return track(pairs, name, console=console, transient=True, disable=not console.is_terminal)
