"""`srnas compare`: several runs on one page."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Run folders")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Page to write, with a .csv beside it")
    ] = Path("comparison.html"),
) -> None:
    """Compare runs: PSNR against cost with the Pareto front, trajectories, genotypes."""
    from srnas.report.compare import write_comparison

    for file in write_comparison(run_dirs, out):
        print(file)
