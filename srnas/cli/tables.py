"""Tables on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def quality_table(result: dict[str, Any], names: Sequence[str]) -> None:
    """Print what `engine.test.test` returned: a row for bicubic and one for each named model."""
    table = Table(title=f"x{result['scale']}, protocol {result['protocol']}")
    table.add_column("network")
    table.add_column("parameters", justify="right")
    for one in result["results"]:
        made = "" if one["lr_source"] == "files" else " (LR made)"
        table.add_column(f"{one['dataset']}{made}\nPSNR / SSIM", justify="right")
    table.add_row("bicubic", "", *(_quality(one["bicubic"]) for one in result["results"]))
    for name, model in zip(names, (result, *result.get("beside", ())), strict=True):
        choices = [f"  {label}: {choice}" for label, choice in model["genotype"].items()]
        table.add_row(
            escape("\n".join([name, *choices])),
            f"{model['params']:,}",
            *(_quality(one) for one in model["results"]),
        )
    Console().print(table)


def _quality(measured: dict[str, float]) -> str:
    return f"{measured['psnr']:.3f} / {measured['ssim']:.4f}"


def explain_table(model: dict[str, Any], name: str) -> None:
    """Print one model's SR images under every protocol and the common mistakes."""
    table = Table(title=f"{escape(name)}: the same images under other protocols, PSNR (difference)")
    table.add_column("protocol")
    for one in model["results"]:
        table.add_column(one["dataset"], justify="right")
    table.add_column("what it does")
    for index, first in enumerate(model["results"][0]["explained"]):
        cells = [
            f"{r['explained'][index]['psnr']:.3f} "
            f"({r['explained'][index]['psnr'] - r['psnr']:+.3f})"
            for r in model["results"]
        ]
        table.add_row(first["protocol"], *cells, first["description"])
    Console().print(table)


def cost_table(result: dict[str, Any]) -> None:
    """Print what `cost.profile` returned."""
    table = Table()
    table.add_column("parameters", justify="right")
    rows = [f"{result['params']:,}"]
    names = {"lr_1280x720": "LR 1280x720", "hr_1280x720": "HR 1280x720"}
    for key, name in names.items():
        if key not in result:  # a classifier
            continue
        table.add_column(f"GMACs, {name}", justify="right")
        rows.append(f"{result[key]['macs'] / 1e9:,.3f}")
    if "input" in result:
        table.add_column(f"GMACs, input {result['input']['size']}", justify="right")
        rows.append(f"{result['input']['macs'] / 1e9:,.3f}")
    table.add_row(*rows)
    Console().print(table)
