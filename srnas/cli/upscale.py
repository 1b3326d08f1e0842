"""`srnas upscale`: apply a model to images."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import Device
from srnas.errors import UserError


def command(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them")
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            metavar="FILE",
            help="A model file, or published weights; default: the x2 model in the package",
        ),
    ] = Path("default"),
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Writes NAME_xN.png here; default: this folder"),
    ] = Path(),
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Work in tiles of NxN LR pixels, to bound memory; 0: never. Default: of 512x512 "
            "for images of more than 2 megapixels",
        ),
    ] = None,
    overlap: Annotated[int, typer.Option(metavar="N", help="Overlap of tiles in LR pixels")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files in DIR")] = False,
    device: Device = None,
) -> None:
    """Enlarge images. Tiles change the result slightly: attention sees one tile at a time.

    What the file has is kept: gray, 16 bits, transparency (enlarged by bicubic), colour profile.
    """
    from srnas.data.headers import read_file
    from srnas.data.images import list_images
    from srnas.data.photographs import read_photograph, write_photograph
    from srnas.distributed import choose_device
    from srnas.files import check_free
    from srnas.model_file import load_model
    from srnas.tasks.super_resolution.evaluate import NetworkUpscale
    from srnas.tasks.super_resolution.task import scale_of
    from srnas.tasks.super_resolution.tiles import in_parts

    network = load_model(model).network
    scale = scale_of(network)
    upscale = NetworkUpscale(network, choose_device(device or "auto"))
    files = [file for path in images for file in (list_images(path) if path.is_dir() else [path])]
    targets = _targets(files, out, scale)
    for target in targets:
        check_free(target, overwrite)
    for path in files:
        read_file(path)  # bad files fail before the first image is enlarged
    for number, (path, target) in enumerate(zip(files, targets, strict=True), 1):
        photograph = read_photograph(path)
        name = f"{path.name} ({number}/{len(files)})"
        method, side = in_parts(upscale, scale, photograph.rgb, tile, overlap, name)
        write_photograph(target, photograph.enlarged(method, scale))
        notes = [photograph.lost] if photograph.lost else []
        if side and tile is None:
            notes.append(f"in tiles of {side}x{side}; --tile 0 for the whole image at once")
        print(f"{target}{': ' if notes else ''}{'; '.join(notes)}", flush=True)


def _targets(files: list[Path], out: Path, scale: int) -> list[Path]:
    """Return where each file's enlargement goes; the suffix tells files of one name apart."""
    from srnas.files import file_name

    stems = [file.stem for file in files]
    targets = [
        out
        / file_name(
            f"{file.stem if stems.count(file.stem) == 1 else file.name}_x{scale}.png", str(file)
        )
        for file in files
    ]
    for target in targets:
        if targets.count(target) > 1:
            raise UserError(f"{target}: two of the images would be written there")
    return targets
