"""`srnas bench`: tables of trained networks, against which searches are judged."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import OptionsFile, Overrides
from srnas.errors import UserError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train a sample of a space's networks, predict the others, look them up."""


@app.command("build")
def build(
    opt: OptionsFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the results, one JSON line a training")] = (
        Path("experiments/bench")
    ),
    processes: Annotated[int, typer.Option(min=1, help="Worker processes, one thread each")] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Every N-th training, from the I-th (from 1)")
    ] = "1/1",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first trainings of the table")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Train what the folder has no result of; stop it at any time, and start it again."""
    from srnas.bench.build import build as run
    from srnas.bench.protocol import load_protocol

    protocol = load_protocol(opt, overrides or ())
    run(
        protocol,
        out,
        processes=processes,
        shard=_parse_shard(shard),
        limit=limit,
        device=device,
    )
    print(out)


def _parse_shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UserError(f"--shard {text}: write it as I/N with I from 1 to N, such as 3/16")
    return int(number), int(count)
