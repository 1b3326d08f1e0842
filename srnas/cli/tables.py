"""Tables on the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def quality_table(result: dict[str, Any]) -> None:
    """Print what `engine.test.test` returned: a row for bicubic and one for the model."""
    table = Table(title=f"x{result['scale']}, protocol {result['protocol']}")
    table.add_column("network")
    table.add_column("parameters", justify="right")
    for one in result["results"]:
        made = "" if one["lr_source"] == "files" else " (LR made)"
        table.add_column(f"{one['dataset']}{made}\nPSNR / SSIM", justify="right")
    bicubic = [
        f"{r['bicubic']['psnr']:.3f} / {r['bicubic']['ssim']:.4f}" for r in result["results"]
    ]
    model = [f"{r['psnr']:.3f} / {r['ssim']:.4f}" for r in result["results"]]
    table.add_row("bicubic", "", *bicubic)
    choices = "\n".join(f"{label}: {choice}" for label, choice in result["genotype"].items())
    table.add_row(choices, f"{result['params']:,}", *model)
    Console().print(table)


def explain_table(result: dict[str, Any]) -> None:
    """Print the same SR images under every protocol and the common mistakes."""
    table = Table(title="the same images under other protocols, PSNR (difference)")
    table.add_column("protocol")
    for one in result["results"]:
        table.add_column(one["dataset"], justify="right")
    table.add_column("what it does")
    for index, first in enumerate(result["results"][0]["explained"]):
        cells = [
            f"{r['explained'][index]['psnr']:.3f} "
            f"({r['explained'][index]['psnr'] - r['psnr']:+.3f})"
            for r in result["results"]
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
