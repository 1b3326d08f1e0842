"""`srnas report`: an HTML report of a run."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run_dir: Annotated[Path, typer.Argument(help="A run folder, experiments/NAME")],
) -> None:
    """Write report.html into a run folder: curves, alphas, genotype, options."""
    from srnas.report.page import write_report

    print(write_report(run_dir))
