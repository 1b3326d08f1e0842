"""`srnas latency`: time and memory of models in the runtimes they are shipped for."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from srnas.cli.arguments import JsonFile, parse_size, write_figures

if TYPE_CHECKING:
    from srnas.choice import Space
    from srnas.model_file import Model

MEASURE = "models"


class _ModelsByDefault(TyperGroup):
    """A group whose first word may be a model file instead of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [MEASURE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(no_args_is_help=True, cls=_ModelsByDefault)

Runtime = Annotated[str, typer.Option(help="onnxruntime, ncnn, openvino or torch")]
Precision = Annotated[str, typer.Option(help="Precision of the export: fp32, fp16, ...")]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Number of threads")]
Size = Annotated[str, typer.Option(metavar="WxH", help="Size of the input in pixels")]
Repeats = Annotated[
    int, typer.Option(min=2, max=1_000_000, help="Runs of each network after the warm-up")
]


@app.callback()
def group() -> None:
    """Measure time and memory: srnas latency MODEL... (as `models`), or a table for searches."""


@app.command(MEASURE)
def models(
    files: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="model.safetensors")],
    runtime: Runtime = "onnxruntime",
    precision: Precision = "fp32",
    threads: Threads = 1,
    size: Size = "320x180",
    repeats: Repeats = 30,
    json_file: JsonFile = None,
) -> None:
    """Time models in turns, beside the published IMDN; leave the machine alone meanwhile."""
    from statistics import quantiles

    from srnas.latency.runtime import memory_of, open_network
    from srnas.machine import time_alternately
    from srnas.model_file import load_model
    from srnas.progress import Progress

    loaded = [load_model(file) for file in files]
    networks = {str(file): model.network for file, model in zip(files, loaded, strict=True)}
    networks |= _reference(files, loaded)
    pixels = parse_size(size, "--size")
    opened = {
        name: open_network(network, runtime, pixels, threads, precision)
        for name, network in networks.items()
    }
    with Progress(repeats) as progress:
        times = time_alternately(
            [one.call for one in opened.values()], repeats, after_round=progress.advance
        )
    rows = []
    for name, row in zip(opened, times, strict=True):
        low, median, high = quantiles(row, n=4, method="inclusive")
        files_bytes = sum(map(len, opened[name].content.values()))
        counted = {
            "params": sum(p.numel() for p in networks[name].parameters()),
            "bytes": files_bytes,
            "memory_mib": round(memory_of(opened[name]) / 2**20, 1),
        }
        timing = {"median": median, "low": low, "high": high, "repeats": repeats}
        rows.append({"model": name, **counted, **timing})
    _show(rows, f"{runtime} {precision}, {threads} thread{'s' * (threads > 1)}, input {size}")
    setting = {"runtime": runtime, "precision": precision, "threads": threads, "size": size}
    write_figures(json_file, {**setting, "models": rows})


@app.command("table")
def table(
    space: Annotated[str, typer.Option("--space", metavar="NAME", help="Search space")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="JSON file to write")],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTION=VALUE]...", help="Of the space: scale=2 num_feat=64"),
    ] = None,
    runtime: Runtime = "onnxruntime",
    precision: Precision = "fp32",
    threads: Threads = 1,
    size: Size = "320x180",
    repeats: Repeats = 15,
    check: Annotated[
        int,
        typer.Option(
            min=0, max=10_000, help="Random networks to compare with their predictions; 0 for none"
        ),
    ] = 20,
) -> None:
    """Time every candidate at every position, for searches with expected_cost on latency."""
    from dataclasses import replace

    from srnas.latency.measure import check_prediction, measure_table
    from srnas.overrides import apply_overrides

    pixels = parse_size(size, "--size")
    content = apply_overrides({"name": space}, options or ())
    measured = measure_table(
        content, runtime, pixels, threads=threads, repeats=repeats, precision=precision
    )
    measured.save(out)
    for label, row in measured.ms.items():
        print(f"{label}: change of the network's {measured.base_ms:.2f} ms, in ms")
        for name, value in row.items():
            print(f"  {name:24}{value - measured.base_ms:+8.2f}")
    if check:
        found = check_prediction(measured, max(3, check))
        replace(measured, check=found).save(out)
        print(
            f"{len(found['networks'])} random networks: Spearman between predicted and measured "
            f"time {found['spearman']:.3f}, mean error {100 * found['error']:.1f}%"
        )
    print(out)


def _reference(files: Sequence[Path], loaded: "Sequence[Model]") -> "dict[str, Space]":
    """Return the published IMDN and the default model, at the scale of the first model."""
    from srnas.model_file import DEFAULT, DEFAULT_FILE, load_model
    from srnas.spaces import derived_network, published_genotype
    from srnas.spaces.kinds import SuperResolutionSpace

    network = loaded[0].network
    if not isinstance(network, SuperResolutionSpace):
        return {}
    space = {"name": "imdn", "scale": network.scale}
    found = {
        f"IMDN x{network.scale} (published)": derived_network(space, published_genotype("imdn"))
    }
    default = load_model(DEFAULT_FILE).network
    given = any(str(file) == DEFAULT or file.resolve() == DEFAULT_FILE.resolve() for file in files)
    if isinstance(default, SuperResolutionSpace) and default.scale == network.scale and not given:
        found[f"default x{default.scale}"] = default
    return found


def _show(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    from srnas.cli.tables import new_table

    numbers = ("parameters", "file, kB", "memory, MiB", "ms", "quartiles")
    shown = new_table(("model",), numbers, title=title)
    for row in rows:
        shown.add_row(
            escape(row["model"]),
            f"{row['params']:,}",
            f"{row['bytes'] / 1000:,.0f}",
            f"{row['memory_mib']:,.0f}",
            f"{row['median']:.2f}",
            f"{row['low']:.2f}-{row['high']:.2f}",
        )
    Console().print(shown)
