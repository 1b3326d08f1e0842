"""`srnas analyze`: measurements on a search."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import Device, JsonFile, write_figures
from srnas.cli.nb201 import TABLE, TableFile


def command(
    run_dir: Annotated[Path, typer.Argument(help="Run folder of a search, experiments/NAME")],
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Agreement of batches, and demand for candidates")
    ] = False,
    landscape: Annotated[
        str | None, typer.Option(metavar="weights|alphas", help="Loss around the checkpoint")
    ] = None,
    points: Annotated[
        int, typer.Option(metavar="N", help="Points of the landscape along each axis")
    ] = 21,
    span: Annotated[
        float, typer.Option(metavar="S", help="Extent of the landscape: -S to S")
    ] = 1.0,
    batches: Annotated[
        int, typer.Option(metavar="N", help="Batches for gradients and landscape")
    ] = 4,
    substitution: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="NAS-Bench-201: score every candidate at this edge"),
    ] = None,
    table: TableFile = TABLE,
    json_file: JsonFile = None,
    device: Device = None,
) -> None:
    """Measure a search, running or finished. Only RUN_DIR/analysis/ is written."""
    from srnas.cli.tables import analysis_tables
    from srnas.engine.analyze import analyze

    result = analyze(
        run_dir,
        gradients=gradients,
        landscape_of=landscape,
        points=points,
        span=span,
        batches=batches,
        substitution=substitution,
        table=table,
        device=device or "auto",
    )
    analysis_tables(result)
    print(run_dir / "analysis")
    write_figures(json_file, result)
