"""`srnas export`: write a model in the format of another runtime."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="A model.safetensors")],
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
        str | None, typer.Option(help="fp32 or fp16; default: the target's usual one")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files")] = False,
    card: Annotated[
        bool, typer.Option(help="Write a model card, NAME.md, beside the files")
    ] = True,
) -> None:
    """Export a model; its files are run in their own runtime and compared with PyTorch first."""
    from srnas.export.target import export
    from srnas.model_file import load_model
    from srnas.report.card import write_card

    loaded = load_model(model)
    written = export(loaded, out, target, precision, overwrite)
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
