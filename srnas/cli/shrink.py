"""`srnas shrink`: from a trained network and a budget to a faster one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srnas.cli.arguments import Device, Resume, parse_size


def command(
    model: Annotated[
        Path, typer.Option("--model", metavar="FILE", help="The network: model file, or weights")
    ],
    data: Annotated[
        list[Path], typer.Option("--data", metavar="DIR", help="HR images to learn on; repeatable")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run")],
    space: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTION=VALUE]...", help="What to open: 'search_feat=[16, 32]', ..."
        ),
    ] = None,
    lr_data: Annotated[
        list[Path] | None,
        typer.Option("--lr-data", metavar="DIR", help="LR images without HR; repeatable"),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="HR images to choose weights by; default: packaged"),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A set to measure at the end; repeatable"),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET[:PRECISION]", help="Write onnx, onnx:int8, ...; repeatable"),
    ] = None,
    speedup: Annotated[
        float | None, typer.Option(help="How many times as fast the result is to be")
    ] = None,
    latency: Annotated[
        str | None, typer.Option(metavar="MS", help="Most milliseconds: 30 or 30ms")
    ] = None,
    macs: Annotated[float | None, typer.Option(help="Most MACs for the input")] = None,
    params: Annotated[float | None, typer.Option(help="Most parameters")] = None,
    size: Annotated[float | None, typer.Option(help="Most bytes of weights in float32")] = None,
    runtime: Annotated[
        str, typer.Option(help="onnxruntime, openvino, ncnn or torch")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="Precision in the runtime")] = "fp32",
    runtime_threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Threads in the runtime")
    ] = 1,
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="LR image that is timed")
    ] = "160x90",
    reuse: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run on the same network, whose measurements are taken"),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Minutes for everything")] = 60.0,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Steps of the distillation, in place of --minutes")
    ] = None,
    fit_steps: Annotated[int, typer.Option(min=0, help="Steps of the fits")] = 200,
    training_precision: Annotated[
        str, typer.Option(help="Precision of the distillation: auto, float32, bfloat16")
    ] = "auto",
    reparameterize: Annotated[
        str, typer.Option(help="Form of its convolutions: auto, none, rep_mbconv, ecb, conv3xc")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed")] = 0,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads to learn")] = None,
    resume: Resume = False,
) -> None:
    """Make a trained network faster: fit cheaper parts, choose for a budget, distil.

    srnas shrink --model IMDN_x2.pth --speedup 2 --minutes 60 --data DIR --out DIR
    """
    from srnas.overrides import apply_overrides
    from srnas.report.page import write_report
    from srnas.shrinking.options import check_shrink_options
    from srnas.shrinking.run import shrink

    given: dict[str, Any] = {
        "model": model, "out": out, "data": data, "lr_data": lr_data or [], "val": val,
        "test": _sets(test or []), "speedup": speedup, "latency": _milliseconds(latency),
        "macs": macs, "params": params, "size": size, "runtime": runtime, "precision": precision,
        "runtime_threads": runtime_threads, "input": list(parse_size(input_size)), "reuse": reuse,
        "export": export or [],
        "minutes": minutes, "steps": steps, "fit_steps": fit_steps, "seed": seed,
        "training_precision": training_precision, "reparameterize": reparameterize,
        "device": device or "auto", "threads": threads, "space": apply_overrides({}, space or []),
    }  # fmt: skip
    print(shrink(check_shrink_options(given), resume, write_report))


def _milliseconds(text: str | None) -> float | None:
    from srnas.errors import UserError, one_line

    if text is None:
        return None
    try:
        return float(text.removesuffix("ms"))
    except ValueError:
        raise UserError(f"--latency {one_line(text, 100)}: write milliseconds, as 30ms") from None


def _sets(given: list[str]) -> dict[str, str]:
    from srnas.errors import UserError, one_line

    sets = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise UserError(f"--test {one_line(text, 100)}: write it as NAME=DIR")
        sets[name] = folder
    return sets
