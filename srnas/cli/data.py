"""`srnas data`: download, prepare and check image folders."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError, counted

app = typer.Typer(no_args_is_help=True)

Scale = Annotated[int, typer.Option(metavar="N", help="2, 3 or 4")]
Scales = Annotated[
    list[int] | None,
    typer.Option(metavar="N", help="div2k: LR images for 2, 3 or 4; repeatable; default 2"),
]


@app.callback()
def group() -> None:
    """Download, prepare and check image folders."""


@app.command("download")
def download(
    dataset: Annotated[str, typer.Argument(metavar="div2k|benchmarks", help="What to fetch")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the data sets")
    ] = Path("datasets"),
    scale: Scales = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Another folder that has the archives")
    ] = None,
) -> None:
    """Fetch DIV2K (4 to 6 GB), or Set5, Set14, B100 and Urban100 (250 MB); it can be interrupted.

    Archives go to DIR/downloads and are checked. The benchmark sets are unpacked as well.
    """
    from srnas.tasks.super_resolution.download import TERMS, archives, fetch, unpack_benchmarks

    if dataset not in TERMS:
        raise UserError(f"no download of {dataset!r}; known: {', '.join(TERMS)}")
    scales = [_known_scale(s) for s in scale or [2]]
    print(TERMS[dataset])
    folder = out / "downloads"
    fetched = [fetch(archive, folder, mirror) for archive in archives(dataset, scales)]
    if dataset == "benchmarks":
        for name, count in unpack_benchmarks(fetched[0], out).items():
            print(f"{out / name}: {counted(count, 'image')}")
    else:
        options = " ".join(f"--scale {s}" for s in scales)
        print(f"next: srnas data prepare div2k {folder} --out {out / 'DIV2K'} {options}")


@app.command("prepare")
def prepare(
    dataset: Annotated[str, typer.Argument(metavar="div2k", help="Data set: div2k")],
    source: Annotated[
        Path, typer.Argument(help="Folder of the archives, or of the unpacked images")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR")] = Path("datasets/DIV2K"),
    scale: Scales = None,
    sub_images: Annotated[
        bool, typer.Option("--sub-images", help="Also cut overlapping sub-images for BasicSR")
    ] = False,
    crop: Annotated[int, typer.Option(help="Side of a sub-image in HR pixels")] = 480,
    step: Annotated[
        int, typer.Option(help="Step from one sub-image to the next, in HR pixels")
    ] = 240,
    lmdb: Annotated[
        bool, typer.Option("--lmdb", help="Also pack LMDB databases, through BasicSR")
    ] = False,
) -> None:
    """Prepare DIV2K: unpack it if needed, make missing LR images, optionally cut and pack it."""
    from srnas.tasks.super_resolution.div2k import SubImages
    from srnas.tasks.super_resolution.div2k import prepare as prepare_div2k

    if dataset != "div2k":
        raise UserError(f"no preparation for {dataset!r}; known: div2k")
    scales = [_known_scale(s) for s in scale or [2]]
    if crop < 1 or step < 1:
        raise UserError(f"--crop {crop} --step {step}: give positive numbers")
    prepare_div2k(source, out, scales, SubImages(crop, step) if sub_images else None, lmdb)


@app.command("lr")
def lr(
    folder: Annotated[Path, typer.Argument(help="A folder of HR images")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Writes NAMExN.png here")],
    scale: Scale = 2,
) -> None:
    """Make LR images by MATLAB-equivalent bicubic, from HR cropped to a multiple of the scale.

    What an interrupted call has made is kept.
    """
    import numpy as np

    from srnas.data.images import pair_folders, read_rgb
    from srnas.files import remove_unfinished
    from srnas.tasks.super_resolution.div2k import make_lr

    pairs = pair_folders(folder, None, _known_scale(scale))
    remove_unfinished(out)
    for pair in pairs:
        made = out / f"{pair.name}x{scale}.png"
        if made.exists() and not np.array_equal(read_rgb(made), pair.load(scale)[0]):
            raise UserError(
                f"{made}: exists, and is not the LR image of {pair.hr}; give another --out DIR"
            )
    make_lr(pairs, out, scale)
    print(f"{counted(len(pairs), 'image')} in {out}")


def _known_scale(scale: int) -> int:
    if scale not in (2, 3, 4):
        raise UserError(f"--scale {scale}: give 2, 3 or 4")
    return scale


@app.command("check")
def check(
    hr: Annotated[Path, typer.Argument(help="A folder of HR images")],
    lr: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of their LR images")
    ] = None,
    scale: Scale = 2,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder of a test set's HR images; repeatable"),
    ] = None,
) -> None:
    """Check pairs, sizes and readability, and that no image is also in a test set."""
    from srnas.data.check import faults, near_duplicates
    from srnas.data.images import pair_folders

    pairs = pair_folders(hr, lr, scale)
    found = faults(pairs, scale)
    for ours, theirs in near_duplicates(hr, against or ()):
        found.append(f"{ours}: looks like {theirs}")
    for line in found:
        print(line)
    if found:
        raise UserError(f"{hr}: {counted(len(found), 'fault')} in {counted(len(pairs), 'image')}")
    print(f"{hr}: {counted(len(pairs), 'image')}, no faults")
