"""`srnas export`: write a model in the format of another runtime."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import parse_size
from srnas.errors import UserError


def command(
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            metavar="FILE",
            help="A model.safetensors, published weights, or default, the x2 model in the package",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="Where to write; without --target, its suffix names it"
        ),
    ],
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="onnx, ncnn, torch, ...")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16 or int8; default: the target's usual one")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="int8: photographs to calibrate on; default: packaged"),
    ] = None,
    val: Annotated[
        Path | None, typer.Option(metavar="DIR", help="int8: images on which the loss counts")
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0.0, metavar="DB", help="int8: largest loss of PSNR")
    ] = 0.1,
    size: Annotated[
        str | None,
        typer.Option("--input", metavar="WxH", help="Fix the input's size (onnx, openvino)"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files")] = False,
    card: Annotated[
        bool, typer.Option(help="Write a model card, FILE.md, beside the files")
    ] = True,
) -> None:
    """Export a model; its files are run in their own runtime and compared with PyTorch first."""
    from srnas.export.write import export
    from srnas.model_file import load_model
    from srnas.report.card import write_card

    loaded = load_model(model)
    budget = None
    if precision == "int8":
        from srnas.export.int8 import photograph_budget

        budget = photograph_budget(loaded.network, calibrate, val, max_drop)
    elif calibrate or val:
        raise UserError("--calibrate and --val go with --precision int8")
    pixels = parse_size(size) if size else None
    written = export(loaded, out, target, precision, overwrite, budget, pixels)
    for agreement in written.agreements:
        print(
            f"{agreement.size}: largest difference to PyTorch {agreement.largest:.2e} (of 1.0), "
            f"PSNR between both {agreement.psnr:.1f} dB"
        )
    for note in written.notes:
        print(note)
    cards = [write_card(loaded, written, overwrite)] if card else []
    for file in [*written.files, *cards]:
        print(f"{file}: {file.stat().st_size:,} bytes")
