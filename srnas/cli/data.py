"""`srnas data`: prepare and check image folders."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Prepare and check image folders."""


@app.command("lr")
def make_lr(
    folder: Annotated[Path, typer.Argument(help="A folder of HR images")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Writes NAMExN.png here")],
    scale: Annotated[int, typer.Option(metavar="N", help="2, 3 or 4")] = 2,
) -> None:
    """Make LR images by MATLAB-equivalent bicubic; HR is cropped to the scale first."""
    from srnas.data.images import pair_folders, write_rgb

    if scale not in (2, 3, 4):
        raise UserError(f"--scale {scale}: give 2, 3 or 4")
    pairs = pair_folders(folder, None, scale)
    targets = [out / f"{pair.name}x{scale}.png" for pair in pairs]
    for target in targets:
        if target.exists():
            raise UserError(f"{target}: exists; give another --out DIR")
    with ThreadPoolExecutor() as pool:
        for target, (lr, _) in zip(targets, pool.map(lambda p: p.load(scale), pairs), strict=True):
            write_rgb(target, lr)
    print(f"{len(pairs)} images in {out}")


@app.command("check")
def check(
    hr: Annotated[Path, typer.Argument(help="A folder of HR images")],
    lr: Annotated[Path | None, typer.Option(metavar="DIR", help="Their LR images")] = None,
    scale: Annotated[int, typer.Option(metavar="N", help="2, 3 or 4")] = 2,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A test set's HR images; repeatable"),
    ] = None,
) -> None:
    """Check pairs, sizes, readability, and that no image also stands in a test set."""
    from srnas.data.check import faults, near_duplicates
    from srnas.data.images import pair_folders

    pairs = pair_folders(hr, lr, scale)
    found = faults(pairs, scale)
    for ours, theirs in near_duplicates(hr, against or ()):
        found.append(f"{ours}: looks like {theirs}")
    for line in found:
        print(line)
    if found:
        raise UserError(f"{hr}: {len(found)} faults in {len(pairs)} images")
    print(f"{hr}: {len(pairs)} images, no faults")
