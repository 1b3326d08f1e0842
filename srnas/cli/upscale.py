"""`srnas upscale`: apply a model to images."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import Device
from srnas.errors import UserError


def command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Any image files")],
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="A model.safetensors")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Writes NAME_xN.png here")],
    tile: Annotated[
        int | None,
        typer.Option(metavar="N", help="Work in tiles of NxN LR pixels, to bound memory"),
    ] = None,
    overlap: Annotated[int, typer.Option(metavar="N", help="Overlap of tiles in LR pixels")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in DIR")] = False,
    device: Device = None,
) -> None:
    """Enlarge images. Tiles change the result slightly: attention sees one tile at a time.

    Transparency is enlarged by bicubic.
    """
    from srnas.data.bicubic import resize_uint8
    from srnas.data.headers import read_file
    from srnas.data.images import read_with_alpha, write_rgb
    from srnas.distributed import choose_device
    from srnas.files import file_name
    from srnas.model_file import load_model
    from srnas.tasks.super_resolution.evaluate import NetworkUpscale, Upscale
    from srnas.tasks.super_resolution.task import scale_of
    from srnas.tasks.super_resolution.tiles import Tiled

    network = load_model(model).network
    scale = scale_of(network)
    upscale: Upscale = NetworkUpscale(network, choose_device(device or "auto"))
    if tile is not None:
        upscale = Tiled(upscale, scale, tile, overlap)
    targets = [out / file_name(f"{path.stem}_x{scale}.png", str(path)) for path in images]
    for target in targets:
        if targets.count(target) > 1:
            raise UserError(f"{target}: two of the images would be written there")
        if target.exists() and not overwrite:
            raise UserError(f"{target}: exists; give --overwrite to replace it")
    for path in images:
        read_file(path)  # refuses what it refuses before the first image is enlarged
    for path, target in zip(images, targets, strict=True):
        rgb, alpha = read_with_alpha(path)
        if alpha is not None:
            alpha = resize_uint8(alpha[..., None], scale)[..., 0]
        write_rgb(target, upscale(rgb), alpha)
        print(target)
