"""`srnas study`: many searches, judged against a table."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import (
    JsonFile,
    OptionsFile,
    Overrides,
    Processes,
    need_file,
    write_figures,
)

app = typer.Typer(no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Folder of the results and runs")]


@app.callback()
def group() -> None:
    """Compare methods and settings over seeds, against a table and against random."""


@app.command("run")
def run(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    out: Out = Path("experiments/study"),
    processes: Processes = 1,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm; repeatable")] = None,
) -> None:
    """Run the searches that have no result; stop at any time, and start again."""
    from srnas.table.study import load_study
    from srnas.table.study import run as run_study

    run_study(load_study(*need_file(opt, overrides, "study ...")), out, processes, arm or ())
    print(out)


@app.command("collect")
def collect(
    table: Annotated[Path, typer.Option(metavar="FILE", help="Table that `srnas table fit` wrote")],
    opt: OptionsFile = None,
    overrides: Overrides = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", metavar="PATH", help="Folder or file of results; repeatable"),
    ] = None,
    training_seconds: Annotated[
        float, typer.Option(help="Processor time of one training of the table, for its rival")
    ] = 34.0,
    latency: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also predict times: srnas latency table")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Print the table of a study as Markdown: means with 95% intervals over the seeds."""
    from srnas.latency.table import read_latency_table
    from srnas.score_table import read_table
    from srnas.table.judge import collect as judge
    from srnas.table.judge import show
    from srnas.table.study import load_study, read_searched

    study = load_study(*need_file(opt, overrides, "study ..."))
    found = read_searched(results or [Path("experiments/study")])
    times = read_latency_table(latency) if latency else None
    rows = judge(study, found, read_table(table), training_seconds, times)
    print(show(rows))
    write_figures(json_file, rows)
