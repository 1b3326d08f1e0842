"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.errors import UserError

OptionsFile = Annotated[
    Path,
    typer.Option(
        "-opt", metavar="FILE", help="YAML options file, or one of srnas's: search/imdn_x2.yml"
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
    Path | None, typer.Option("--model", metavar="FILE", help="A model.safetensors of srnas")
]
SpaceName = Annotated[
    str | None, typer.Option("--space", metavar="NAME", help="A space; `srnas spaces` lists them")
]
GenotypeFile = Annotated[
    Path | None,
    typer.Option("--genotype", metavar="FILE", help="Default: the space's published network"),
]
Device = Annotated[str | None, typer.Option(help="auto (default), cpu, cuda, cuda:1, ...")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here, too")
]


def parse_size(size: str) -> tuple[int, int]:
    """Read "WxH" as (width, height); UserError for anything else."""
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"--input {size}: write it as WIDTHxHEIGHT, such as 640x360")
    return int(width), int(height)
