"""Benchmarks: models on test sets, compared with bicubic interpolation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from srnas.benchmarks.scorecard import card_protocols, scorecard
from srnas.choice import Genotype
from srnas.cost import count_parameters
from srnas.data.bicubic import resize_uint8
from srnas.data.images import ImagePair, check_file_names, write_rgb
from srnas.distributed import choose_device
from srnas.errors import UserError
from srnas.export.exported import ExportedNetwork, is_exported
from srnas.files import file_name
from srnas.metrics import Metric
from srnas.model_file import Model, load_model, load_published
from srnas.progress import track
from srnas.tasks.super_resolution.evaluate import (
    Measurement,
    NetworkUpscale,
    Upscale,
    bicubic,
    open_metrics,
)
from srnas.tasks.super_resolution.options import TestOptions
from srnas.tasks.super_resolution.protocols import EVERY_PROTOCOL, PROTOCOLS, Protocol
from srnas.tasks.super_resolution.task import SuperResolution, open_benchmark, scale_of
from srnas.tasks.super_resolution.tiles import in_parts

Tested: TypeAlias = Model | ExportedNetwork


def test(options: TestOptions) -> dict[str, Any]:
    """Evaluate models on benchmark sets.

    All images are read before the first one is evaluated, so that a broken one is reported at once.

    Returns:
        {"scale", "protocol", "self_ensemble", "params", "genotype", "results": [{"dataset",
        "lr_source", "metrics": names, each metric by name, "bicubic": {each metric by name},
        "images": [...]}]}; the metrics are "psnr" (dB) and "ssim" by default. If networks worked in
        tiles, a result has "tiled", the number of these images. With `explain` or
        `scorecard`, it has "explained" (see `Measurement.result`). If there are LR files, it has
        "lr_difference_to_bicubic": their mean absolute difference from MATLAB's bicubic in levels
        of 255. Other models are added as "beside": [{"model", "params", "genotype", "results"}],
        and the figures of `scorecard` as "scorecard". An exported file has no "params" and no
        "genotype".

    Raises:
        UserError: A model or image cannot be read, or does not fit the scale; files cannot be named
            after the images of a set; or a metric lacks a package or a file.
    """
    device, protocol = choose_device(options.device), PROTOCOLS[options.protocol]
    metrics = open_metrics(options.metrics, protocol, device)
    models = open_models(options)
    scale = _scale(models[0])
    options = options.model_copy(update={"scale": scale})
    sets = {
        name: open_benchmark(folder, scale, options.lr == "files")
        for name, folder in options.data.items()
    }
    for pairs in sets.values():
        if options.save_images or options.crops:
            check_file_names(pairs)
        for pair in pairs:
            pair.read(scale)
    by_set = [_test_set(name, pairs, models, options, metrics) for name, pairs in sets.items()]
    tested = [
        {**_described(model), "results": list(results)}
        for model, results in zip(models, zip(*by_set, strict=True), strict=True)
    ]
    beside = [
        {"model": str(file), **one} for file, one in zip(options.beside, tested[1:], strict=True)
    ]
    result = {
        "scale": scale,
        "protocol": options.protocol,
        "self_ensemble": options.self_ensemble,
        **tested[0],
        **({"beside": beside} if beside else {}),
    }
    if options.scorecard:
        first = next(iter(sets.values()))
        networks = [_network(model) for model in models]
        result["scorecard"] = scorecard(options, networks, tested, first)
    return result


def _test_set(
    name: str,
    pairs: list[ImagePair],
    models: Sequence[Tested],
    options: TestOptions,
    metrics: Mapping[str, Metric],
) -> list[dict[str, Any]]:
    """Return the results of each model on one set; each image is read once for all models."""
    assert options.scale, options
    scale, protocol = options.scale, PROTOCOLS[options.protocol]
    others: Sequence[Protocol] = EVERY_PROTOCOL if options.explain else ()
    if options.scorecard and not options.explain:
        others = card_protocols(options.protocol)
    device = choose_device(options.device)
    networks = (NetworkUpscale(_network(m), device, options.self_ensemble) for m in models)
    upscales: list[Upscale] = [bicubic(scale), *networks]
    tiled = 0
    measurements = [
        Measurement(scale, protocol, (), metrics),
        *(Measurement(scale, protocol, others, metrics) for _ in models),
    ]
    methods = ["bicubic", *model_names(options)]
    for pair in track(pairs, name):
        lr, hr = pair.load(scale)
        parts = [in_parts(upscale, scale, lr, options.tile) for upscale in upscales[1:]]
        images = [method(lr) for method in (upscales[0], *(method for method, _ in parts))]
        tiled += any(side for _, side in parts)
        for measurement, sr in zip(measurements, images, strict=True):
            measurement.add(pair.name, sr, hr)
        if options.save_images:
            write_rgb(_file(options.save_images, name, pair), images[1])
        if options.crops:
            from srnas.benchmarks.crops import (
                write_crops,  # matplotlib is slow to import
            )

            upscaled = list(zip(methods, images, strict=True))
            file = _file(options.crops, name, pair)
            write_crops(file, f"{name}: {pair.name}", hr, upscaled, scale, protocol)
    plain, *measured = (measurement.result() for measurement in measurements)
    shared = {
        "dataset": name,
        "lr_source": "files" if pairs[0].lr else "bicubic made from HR",
        "bicubic": {metric: plain[metric] for metric in metrics},
        **({"tiled": tiled} if tiled else {}),
        **_lr_check(pairs, scale),
    }
    return [{**shared, **one} for one in measured]


def _file(folder: Path, name: str, pair: ImagePair) -> Path:
    """Return where in `folder` a file about an image of the set `name` goes."""
    return folder / file_name(name, "data") / file_name(f"{pair.name}.png", str(pair.hr.parent))


def _lr_check(pairs: list[ImagePair], scale: int) -> dict[str, float]:
    """Measure the mean absolute difference of LR files from MATLAB's bicubic, in levels of 255.

    For the files of the usual sets it is 0.15, due to rounding; `srnas test` warns above 0.5.
    """
    if pairs[0].lr is None:
        return {}
    differences = []
    for pair in pairs:
        lr, hr = pair.load(scale)
        made = resize_uint8(hr, 1 / scale)
        differences.append(np.abs(made.astype(np.int16) - lr).mean())
    return {"lr_difference_to_bicubic": float(np.mean(differences))}


def open_models(options: TestOptions) -> list[Tested]:
    """Load the models of the options, the main one first.

    Raises:
        UserError: A model cannot be read or has another scale, or there is an exported file among
            those of a scorecard.
    """
    main: Tested
    if options.model:
        main = _load(options.model)
    else:
        assert options.weights, options
        assert options.space, options
        genotype = Genotype.load(options.genotype) if options.genotype else None
        main = load_published(options.weights, options.space, genotype)
    models = [main, *map(_load, options.beside)]
    expected = options.scale or _scale(main)
    for file, model in zip(options.files, models, strict=True):
        if _scale(model) != expected:
            raise UserError(f"{file}: the model enlarges x{_scale(model)}, but scale is {expected}")
        if options.scorecard and isinstance(model, ExportedNetwork):
            raise UserError(
                f"{file}: a scorecard counts the layers of a network, which an exported file does "
                "not show; leave out --scorecard"
            )
    return models


def _load(file: Path) -> Tested:
    return ExportedNetwork(file, SuperResolution.ports) if is_exported(file) else load_model(file)


def _network(model: Tested) -> nn.Module:
    return model if isinstance(model, ExportedNetwork) else model.network


def _scale(model: Tested) -> int:
    return model.scale if isinstance(model, ExportedNetwork) else scale_of(model.network)


def _described(model: Tested) -> dict[str, Any]:
    if isinstance(model, ExportedNetwork):
        return {}
    return {"params": count_parameters(model.network), "genotype": model.genotype.choices}


def model_names(options: TestOptions) -> list[str]:
    """Return names of the models for tables and figures.

    A model.safetensors is named after its run folder, an exported file by its whole name, any other
    file after its stem.
    """
    return [
        file.absolute().parent.name
        if file.name == "model.safetensors"
        else (file.name if is_exported(file) else file.stem)
        for file in options.files
    ]
