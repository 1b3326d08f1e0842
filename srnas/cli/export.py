"""`srnas export`: a model for phones and servers."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="A model.safetensors")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.onnx", help="Where to write")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.onnx")] = False,
) -> None:
    """Export to ONNX with dynamic height and width, checked in ONNX Runtime at three sizes."""
    from srnas.export.model_file import load_model
    from srnas.export.onnx import export_onnx

    for size, difference in export_onnx(load_model(model), out, overwrite).items():
        print(f"LR {size}: largest difference to PyTorch {difference:.2e} (of 1.0)")
    print(f"{out}: {out.stat().st_size:,} bytes")
