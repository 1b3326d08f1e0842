"""`srnas test`: metrics on benchmark sets, compared with bicubic and other models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srnas.cli.arguments import (
    Device,
    GenotypeFile,
    JsonFile,
    ModelFile,
    OptionsFile,
    Overrides,
    SpaceName,
    split_file,
    write_figures,
)
from srnas.errors import UserError, counted

if TYPE_CHECKING:
    from srnas.choice import Space
    from srnas.components import Component
    from srnas.tasks.super_resolution.options import TestOptions

LR_TOLERANCE = 0.5  # mean difference in levels of 255; the usual sets have 0.15, from rounding


def command(
    overrides: Overrides = None,
    opt: OptionsFile = None,
    model: ModelFile = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Published weight file; needs --space")
    ] = None,
    space: SpaceName = None,
    genotype: GenotypeFile = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Another model, or an export; repeatable"),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(metavar="N", help="2, 3 or 4; default: the model's")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="Benchmark set; repeatable")
    ] = None,
    lr: Annotated[
        str | None, typer.Option(metavar="files|made", help="LR from files, or made by bicubic")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="psnr, ssim (default both), psnr_rgb, lpips, ...; repeatable"
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="P", help="basicsr (default), imdn_script, edsr, ntire_esr"),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also measure under all protocols and common mistakes")
    ] = False,
    scorecard: Annotated[
        bool, typer.Option("--scorecard", help="Also cost, memory and runtime, as NTIRE does")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tiles of NxN LR pixels; 0: none. Default: as upscale"),
    ] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Average over 8 flips and transpositions")
    ] = False,
    save_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write SR of the main model here")
    ] = None,
    crops: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write figures that compare a region here")
    ] = None,
    json_file: JsonFile = None,
    device: Device = None,
) -> None:
    """Measure models, published weights or exported files on benchmark sets: PSNR, SSIM, LPIPS."""
    from srnas.merging import Whole
    from srnas.options import check_options, load_options

    opt, changes = split_file(opt, overrides)
    given: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "space": _space(space, scale, genotype),
        "genotype": genotype,
        "beside": beside or None,
        "scale": scale,
        "lr": lr,
        "tile": tile,
        "metrics": metric or None,
        "protocol": protocol,
        "explain": explain or None,
        "scorecard": scorecard or None,
        "self_ensemble": self_ensemble or None,
        "save_images": save_images,
        "crops": crops,
        "data": Whole(_name_and_folder(item) for item in data) if data else None,
        "device": device,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if opt:
        if model or weights:  # instead of the file's model, whichever kind it is
            given = {**dict.fromkeys(("model", "weights", "space", "genotype")), **given}
        options = load_options("test", opt, changes, given)
    else:
        if changes:
            raise UserError(f"{changes[0]}: key=value arguments go with -opt FILE")
        options = check_options("test", given, "srnas test")
    run(options, json_file)


def _space(
    name: str | None, scale: int | None, genotype: Path | None
) -> "dict[str, Any] | Component[Space] | None":
    """Return the space, with the options that the genotype, if given, was searched with."""
    if name is None:
        return None
    from srnas.merging import Whole

    at_scale = {"scale": scale} if scale else {}
    if genotype is None:
        return Whole(name=name, **at_scale)
    from srnas.choice import Genotype
    from srnas.spaces import genotype_space

    chosen = Genotype.load(genotype)
    if chosen.space != name:
        raise UserError(f"{genotype}: a genotype of space {chosen.space!r}, not of {name!r}")
    return genotype_space(chosen, **at_scale)


def _name_and_folder(item: str) -> tuple[str, str]:
    name, equals, folder = item.partition("=")
    if not (name and equals and folder):
        raise UserError(f"--data {item}: write it as NAME=DIR")
    return name, folder


def run(options: "TestOptions", json_file: Path | None = None) -> dict[str, Any]:
    """Run the test: print its tables, and write its result as JSON if a file is given.

    LR files that differ from MATLAB's bicubic by more than rounding raise a warning on standard
    error.

    Returns:
        What `srnas.benchmarks.benchmark.test` returned.
    """
    from srnas.benchmarks.benchmark import model_names, test
    from srnas.cli.tables import explain_table, quality_table, scorecard_tables

    result = test(options)
    names = model_names(options)
    quality_table(result, names)
    if options.explain:
        for name, tested in zip(names, (result, *result.get("beside", ())), strict=True):
            explain_table(tested, name, options.protocol)
    if options.scorecard:
        scorecard_tables(result["scorecard"], names)
    for measured in result["results"]:
        if "tiled" in measured:
            print(
                f"note: {measured['dataset']}: {counted(measured['tiled'], 'image')} enlarged in "
                "tiles, which changes figures slightly; --tile 0 takes them whole",
                file=sys.stderr,
            )
        difference = measured.get("lr_difference_to_bicubic", 0)
        if difference > LR_TOLERANCE:
            print(
                f"warning: {measured['dataset']}: the LR files are {difference:.1f} levels of 255 "
                "away from MATLAB's bicubic; figures do not compare with published ones",
                file=sys.stderr,
            )
    write_figures(json_file, result)
    return result
