"""`srnas report`: an HTML report of a run."""

import time
from pathlib import Path
from typing import Annotated

import typer

EVERY = 10  # seconds


def command(
    run_dir: Annotated[Path, typer.Argument(help="A run folder, experiments/NAME")],
    follow: Annotated[
        bool, typer.Option("--follow", help=f"Write it again every {EVERY} s until Ctrl-C")
    ] = False,
) -> None:
    """Write report.html into a run folder: the network, verdict, curves, alphas, options."""
    from srnas.report.page import write_report

    print(write_report(run_dir, EVERY if follow else None))
    try:
        while follow:
            time.sleep(EVERY)
            write_report(run_dir, EVERY)
    except KeyboardInterrupt:
        write_report(run_dir)  # a page that no longer loads itself again
