"""Arguments that several commands share."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError

OptionsFile = Annotated[
    Path,
    typer.Option(
        "-opt", metavar="FILE", help="YAML options file, or a bundled one: search/imdn_x2.yml"
    ),
]
OptionalOptionsFile = Annotated[
    Path | None, typer.Option("-opt", metavar="FILE", help="YAML options file")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Override options")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run from its checkpoint")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, run nothing")]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="A model.safetensors written by srnas"),
]
SpaceName = Annotated[
    str | None,
    typer.Option("--space", metavar="NAME", help="Search space; `srnas spaces` lists them"),
]
GenotypeFile = Annotated[
    Path | None,
    typer.Option("--genotype", metavar="FILE", help="Default: the space's published network"),
]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda, cuda:1, ...")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file")
]

Processes = Annotated[int, typer.Option(min=1, help="Worker processes, one thread each")]


def end_with_workers() -> None:
    """Make SIGTERM end this process as an exception does, so that it ends its workers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def parse_size(size: str, option: str = "--input") -> tuple[int, int]:
    """Parse "WxH" into (width, height).

    Raises:
        UserError: The text has another form, or a side is 0.
    """
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"{option} {size}: write it as WIDTHxHEIGHT, such as 640x360")
    return int(width), int(height)
