"""Arguments that several commands share."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from srnas.errors import UserError, one_line

OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "-opt", metavar="FILE", help="YAML options file, or a bundled one: search/imdn_x2.yml"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Override options; may include the options file"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run from its checkpoint")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print time and memory, keep nothing")
]
PrintOptions = Annotated[
    bool, typer.Option("--print-options", help="Only print all options, with methods and defaults")
]
ModelFile = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="A model.safetensors, or published weights"),
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

Processes = Annotated[int, typer.Option(min=1, max=1024, help="Worker processes, one thread each")]
LARGEST_SIDE = 65_536  # pixels


def write_figures(file: Path | None, figures: Any) -> None:
    """Write what a command has measured as JSON, if `--json` names a file."""
    if file:
        from srnas.files import write_json

        write_json(file, figures)


def split_file(opt: Path | None, arguments: list[str] | None) -> tuple[Path | None, list[str]]:
    """Return the options file and the overrides.

    Without `-opt`, the file is the first argument if that ends in .yml or .yaml and has no "=".
    """
    first, *rest = arguments or [""]
    if opt is None and first.endswith((".yml", ".yaml")) and "=" not in first:
        return Path(first), rest
    return opt, arguments or []


def need_file(
    opt: Path | None, arguments: list[str] | None, command: str
) -> tuple[Path, list[str]]:
    """Return what `split_file` does; UserError if there is no options file."""
    file, overrides = split_file(opt, arguments)
    if file is None:
        raise UserError(f"give an options file: srnas {command} -opt FILE")
    return file, overrides


def parse_size(size: str, option: str = "--input") -> tuple[int, int]:
    """Parse "WxH" into (width, height).

    Raises:
        UserError: The text has another form, or a side is 0 or too large.
    """
    match = re.fullmatch(r"0*([1-9][0-9]*)x0*([1-9][0-9]*)", size.lower())
    shown = one_line(size, 100)
    if not match:
        raise UserError(f"{option} {shown}: write it as WIDTHxHEIGHT, such as 640x360")
    if any(len(side) > 5 or int(side) > LARGEST_SIDE for side in match.groups()):
        raise UserError(f"{option} {shown}: sides are up to {LARGEST_SIDE:,} pixels")
    return int(match[1]), int(match[2])
