"""Models on benchmark sets, with bicubic beside them."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from srnas.choice import Genotype
from srnas.cost import count_parameters
from srnas.data.bicubic import resize_uint8
from srnas.data.images import ImagePair, benchmark_pairs, write_rgb
from srnas.data.packaged import packaged_pairs
from srnas.engine.distributed import choose_device
from srnas.engine.evaluate import Measurement, NetworkUpscale, bicubic
from srnas.errors import UserError
from srnas.export.model_file import Model, load_model, load_published
from srnas.metrics import EVERY_PROTOCOL, PROTOCOLS
from srnas.options import TestOptions


def test(options: TestOptions) -> dict[str, Any]:
    """Evaluate the options' models on their sets.

    A set is a folder (`benchmark_pairs`) or "packaged" for the packaged test photographs.
    All images are read once before the first is evaluated, so that a broken one is told at
    once. Returns {"scale", "protocol", "self_ensemble", "params", "genotype", "results":
    [{"dataset", "lr_source", "psnr", "ssim", "bicubic": {"psnr", "ssim"}, "images": [...]}]}; see
    `Measurement` for "explained" and `_lr_check` for "lr_difference_to_bicubic". Models beside
    the main one add "beside": [{"model", "params", "genotype", "results"}].
    """
    sets = {
        name: packaged_pairs("test")
        if str(folder) == "packaged"
        else benchmark_pairs(folder, options.scale, options.lr == "files")
        for name, folder in options.data.items()
    }
    for pair in chain.from_iterable(sets.values()):
        pair.read(options.scale)
    models = open_models(options)
    by_set = [_test_set(name, pairs, models, options) for name, pairs in sets.items()]
    tested = [
        {
            "params": count_parameters(model.network),
            "genotype": model.genotype.choices,
            "results": list(results),
        }
        for model, results in zip(models, zip(*by_set, strict=True), strict=True)
    ]
    beside = [
        {"model": str(file), **one} for file, one in zip(options.beside, tested[1:], strict=True)
    ]
    return {
        "scale": options.scale,
        "protocol": options.protocol,
        "self_ensemble": options.self_ensemble,
        **tested[0],
        **({"beside": beside} if beside else {}),
    }


def _test_set(
    name: str, pairs: list[ImagePair], models: list[Model], options: TestOptions
) -> list[dict[str, Any]]:
    """Each model's result on one set. All models see an image before the next one is read."""
    scale, protocol = options.scale, PROTOCOLS[options.protocol]
    others = EVERY_PROTOCOL if options.explain else ()
    device = choose_device(options.device)
    networks = (NetworkUpscale(m.network, device, options.self_ensemble) for m in models)
    upscales = [bicubic(scale), *networks]
    measurements = [
        Measurement(scale, protocol),
        *(Measurement(scale, protocol, others) for _ in models),
    ]
    methods = ["bicubic", *model_names(options)]
    for pair in _shown(pairs, name):
        lr, hr = pair.load(scale)
        images = [upscale(lr) for upscale in upscales]
        quality = [
            measurement.add(pair.name, sr, hr)
            for measurement, sr in zip(measurements, images, strict=True)
        ]
        if options.save_images:
            write_rgb(options.save_images / name / f"{pair.name}.png", images[1])
        if options.crops:
            from srnas.report.crops import write_crops  # matplotlib is slow to import

            upscaled = list(zip(methods, images, quality, strict=True))
            file = options.crops / name / f"{pair.name}.png"
            write_crops(file, f"{name}: {pair.name}", hr, upscaled, scale, protocol)
    plain, *measured = (measurement.result() for measurement in measurements)
    shared = {
        "dataset": name,
        "lr_source": "files" if pairs[0].lr else "bicubic made from HR",
        "bicubic": {"psnr": plain["psnr"], "ssim": plain["ssim"]},
        **_lr_check(pairs, scale),
    }
    return [{**shared, **one} for one in measured]


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


def open_models(options: TestOptions) -> list[Model]:
    """The options' models, the main one first; UserError if one has another scale."""
    if options.model:
        main = load_model(options.model)
    else:
        genotype = Genotype.load(options.genotype) if options.genotype else None
        main = load_published(options.weights, options.space, genotype)
    models = [main, *map(load_model, options.beside)]
    for file, model in zip(_files(options), models, strict=True):
        if model.scale != options.scale:
            raise UserError(
                f"{file}: the model enlarges x{model.scale}, but scale is {options.scale}"
            )
    return models


def model_names(options: TestOptions) -> list[str]:
    """What tables and pictures call the options' models: a model.safetensors by its run's
    folder, another file by its stem."""
    return [
        file.absolute().parent.name if file.name == "model.safetensors" else file.stem
        for file in _files(options)
    ]


def _files(options: TestOptions) -> list[Path]:
    return [options.model or options.weights, *options.beside]


def _shown(pairs: list[ImagePair], name: str) -> Any:
    console = Console(stderr=True)
    return track(pairs, name, console=console, transient=True, disable=not console.is_terminal)
