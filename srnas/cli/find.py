"""`srnas find`: a budget in, a network out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srnas.cli.arguments import JsonFile, parse_size, write_figures

if TYPE_CHECKING:
    from srnas.finding import Answer, Candidate, Limits

NOTHING = 1  # exit code if no network fits
SHOWN = 12  # rows of a table


def command(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SOURCE]...",
            help="Models, tables (.csv, .csv.gz), front.json, folders of runs",
        ),
    ] = None,
    scale: Annotated[int, typer.Option(min=2, max=4, help="Scale factor")] = 2,
    max_ms: Annotated[float | None, typer.Option(help="Most milliseconds for the input")] = None,
    max_kb: Annotated[float | None, typer.Option(help="Most kilobytes of exported files")] = None,
    max_macs: Annotated[float | None, typer.Option(help="Most MACs for the input")] = None,
    max_params: Annotated[float | None, typer.Option(help="Most parameters")] = None,
    best: Annotated[bool, typer.Option("--best", help="No limit: the best there is")] = False,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime, openvino, ncnn or torch")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="Precision of the export")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads in the runtime")] = 1,
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="LR image that costs are for")
    ] = "320x180",
    repeats: Annotated[int, typer.Option(min=2, max=1_000_000, help="Runs of each network")] = 15,
    val: Annotated[
        Path | None, typer.Option(metavar="DIR", help="HR images for PSNR; default: packaged")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Also write a page")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Find the best network for a budget, measured on this machine.

    srnas find experiments --max-ms 5
    """
    from srnas.errors import UserError
    from srnas.finding import Limits, find

    given = {"ms": max_ms, "kb": max_kb, "macs": max_macs, "params": max_params}
    if best == any(value is not None for value in given.values()):
        text = "give --max-ms, --max-kb, --max-macs or --max-params, or --best without a limit"
        raise UserError(text)
    if any(value is not None and not value > 0 for value in given.values()):
        raise UserError("a limit is a number above 0")
    size = parse_size(input_size)
    limits = Limits(scale, max_ms, max_kb, max_macs, max_params, runtime, precision, threads, size,
                    repeats)  # fmt: skip
    answer = find(sources or [], limits, val)
    _print(answer, limits)
    chosen = [one.name for one in answer.best]
    rows = [{**one.figures(), "fits": one in answer.fitting} for one in _rows(answer)]
    write_figures(json_file, {"best": chosen, "networks": rows, "left_out": answer.left_out})
    if page:
        from srnas.report.found import write_found

        write_found(answer, limits, page)
    if not answer.fitting:
        raise typer.Exit(NOTHING)


def _rows(answer: "Answer") -> list["Candidate"]:
    return [*answer.fitting, *answer.others]


def _print(answer: "Answer", limits: "Limits") -> None:
    from rich.console import Console
    from rich.markup import escape

    from srnas.cli.tables import new_table
    from srnas.report.found import HEADS, cells, told

    console = Console()
    title = f"x{limits.scale}, {limits.runtime} {limits.precision}, "
    title += f"{limits.threads} thread{'s' * (limits.threads > 1)}, "
    title += "input {}x{}".format(*limits.size)
    table = new_table(HEADS[:1], HEADS[1:], title=title)
    rows = _rows(answer)
    for number, one in enumerate(rows[:SHOWN], 1):
        last = number in (len(answer.fitting), len(rows), SHOWN)
        table.add_row(*map(escape, cells(one, one in answer.fitting)), end_section=last)
    console.print(table)
    lines: list[Any] = [f"and {len(rows) - SHOWN} more (--json)"] if len(rows) > SHOWN else []
    for line in [*lines, *(f"left out: {one}" for one in answer.left_out), *told(answer, limits)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
