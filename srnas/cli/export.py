"""`srnas export`: write a model in the format of another runtime."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="A model.safetensors")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE.onnx", help="Where to write; its suffix names the format"
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file")] = False,
) -> None:
    """Export to ONNX with dynamic height and width, compared with PyTorch at three sizes."""
    from srnas.export.target import export
    from srnas.model_file import load_model

    for size, difference in export(load_model(model), out, overwrite).items():
        print(f"{size}: largest difference to PyTorch {difference:.2e} (of 1.0)")
    print(f"{out}: {out.stat().st_size:,} bytes")
