"""Compare the super-resolution table of SA-DARTS (Table 3) with the counts of srnas, row by row.

    .venv/bin/python tools/paper_table.py [--json FILE]

In that table PSNR is at x2. The sizes of DLSR are at x2 too, those of IMDN at x4. The MACs are for
an *input* of 1280x720. Three of them (SA-DLSR, IMDN, SAC-IMDN) are reproduced to all known digits
by the rules of the counter THOP: the MACs of convolutions, plus one per value of global pooling,
four per value of affine BatchNorm, and none for interpolation.

Where a printed figure is not available, the table gives what is known about it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srnas.choice import Genotype, Space
from srnas.cost import HD
from srnas.files import write_json
from srnas.spaces import derived_network, published_genotype
from srnas.spaces.imdn import ContrastAwareAttention
from srnas.tasks.super_resolution import SuperResolution

SETS = ("Set5", "Set14", "B100", "Urban100")


@dataclass(frozen=True)
class Row:
    """One network of the table, with what is known about its printed figures.

    Attributes:
        network: Name of the network.
        space: Its space.
        scale: Scale factor of its size and MACs.
        choices: The searched operations, as printed where the paper prints them.
        params_k: Printed size in thousands of parameters.
        gmacs: Printed GMACs, if known.
        above: If they are not, the range in GMACs by which they exceed those of the convolutions.
        psnr: Printed PSNR in dB at x2, on SETS.
        note: Remark that is printed with the row.
    """

    network: str
    space: str
    scale: int
    choices: tuple[str, ...]
    params_k: float
    gmacs: float | None = None
    above: tuple[float, float] | None = None
    psnr: tuple[float, ...] | None = None
    note: str = ""


ROWS = (
    Row(
        "DLSR",
        "dlsr",
        2,
        ("conv_1x1", "sep_conv_7x7", "sep_conv_5x5"),
        322.62,
        above=(92, 94),
        psnr=(37.91, 33.56, 32.17, 32.10),
        note="PSNR as reproduced by SA-DARTS.",
    ),
    Row(
        "SA-DLSR",
        "dlsr",
        2,
        ("dil_conv_3x3", "dil_conv_5x5", "dil_conv_3x3"),
        264.73,
        gmacs=215.90,
        psnr=(37.97, 33.53, 32.16, 32.02),
        note="Size and MACs settle which operations, not their order.",
    ),
    Row(
        "SAC-DLSR",
        "dlsr",
        2,
        ("sep_conv_3x3",) * 3,
        309.37,
        above=(92, 94),
        psnr=(37.98, 33.58, 32.17, 32.16),
    ),
    Row(
        "DLSR+Beta",
        "dlsr",
        2,
        ("conv_7x7",) * 3,
        2243.00,
        above=(92, 94),
    ),
    Row(
        "IMDN",
        "imdn",
        4,
        ("conv_3x3",) * 4,
        715.18,
        above=(0.4, 0.4),
        psnr=(38.00, 33.63, 32.19, 32.17),
        note="The pooling of the attention is what its MACs hold beside convolutions.",
    ),
    Row(
        "IMDN+Beta",
        "imdn",
        4,
        ("conv_5x5_bn", "conv_5x5", "conv_5x5_bn", "conv_5x5_bn"),
        1773.67,
        above=(116, 117),
    ),
    Row(
        "IMDN+Beta with FLOPs",
        "imdn",
        4,
        ("ds_conv_3x3", "conv_3x3", "ds_conv_3x3_bn", "ds_conv_5x5"),
        349.22,
        gmacs=431.38,
        note="The size is printed twice, here and for SAC-IMDN, the MACs once as 431.38 and once "
        "as 317.09; the latter are this genotype's.",
    ),
    Row(
        "SAC-IMDN",
        "imdn",
        4,
        ("ds_conv_3x3", "conv_3x3", "ds_conv_3x3_bn", "ds_conv_5x5"),
        349.22,
        gmacs=317.09,
        psnr=(37.98, 33.65, 32.20, 32.21),
        note="Size and MACs are those of the genotype of IMDN+Beta with FLOPs, which is counted "
        "here. SAC's own genotype is printed without the FLOPs penalty in the text and with it "
        "in the appendix; it is counted in the next row.",
    ),
    Row(
        "SAC-IMDN with FLOPs",
        "imdn",
        4,
        ("dil_ds_conv_3x3", "ds_conv_3x3", "ds_conv_3x3", "dil_ds_conv_3x3"),
        200.04,
        above=(116, 117),
        note="Size: the printed genotype lacks one BatchNorm after c1, c2 or c3, whose 768 "
        "parameters make it 200,040.",
    ),
)


def build(row: Row) -> Space:
    """Build the network of a row on the meta device.

    For DLSR it has the published links; all links cost the same.
    """
    published = published_genotype(row.space)
    searched = dict(zip(published.choices, row.choices, strict=False))  # the links come last
    genotype = Genotype(row.space, published.choices | searched)
    with torch.device("meta"):
        return derived_network({"name": row.space, "scale": row.scale}, genotype).eval()


def convolution_macs(network: nn.Module) -> int:
    """Count the MACs of the convolutions alone, for an LR image of 1280x720."""
    width, height = HD
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2


def thop_macs_beside_convolutions(network: nn.Module) -> int:
    """Count the MACs of BatchNorm and global pooling as THOP does, for an LR image of 1280x720."""
    norms = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    pools = [
        m.squeeze.in_channels for m in network.modules() if isinstance(m, ContrastAwareAttention)
    ]
    return (4 * sum(norms) + sum(pools)) * HD[0] * HD[1]


def compare(row: Row) -> dict[str, Any]:
    """Return a row for JSON: counted and published figures, and whether they agree."""
    network = build(row)
    measured = SuperResolution.profile(network, None)
    convolutions, others = convolution_macs(network), thop_macs_beside_convolutions(network)
    if row.gmacs is not None:
        macs_agree = round((convolutions + others) / 1e9, 2) == row.gmacs
    else:
        low, high = row.above
        macs_agree = low <= round(others / 1e9, 1) <= high
    return {
        "network": row.network,
        "space": row.space,
        "scale": row.scale,
        "choices": list(row.choices),
        **measured,
        "lr_1280x720_convolutions": {"macs": convolutions},
        "lr_1280x720_thop": {"macs": convolutions + others},
        "published": {
            "params_k": row.params_k,
            "gmacs": row.gmacs,
            "gmacs_above_convolutions": row.above,
            "psnr": dict(zip(SETS, row.psnr, strict=True)) if row.psnr else None,
        },
        "params_agree": round(measured["params"] / 1000, 2) == row.params_k,
        "macs_agree": macs_agree,
        "note": row.note,
    }


def print_table(results: list[dict[str, Any]]) -> None:
    """Print the figures as a table, followed by one line per row that says whether they agree."""
    table = Table(title="SA-DARTS, Table 3: published (pub.) and counted here")
    for heading in (
        "network",
        "parameters",
        "pub., K",
        "GMACs, HR\n1280x720",
        "GMACs, LR\n1280x720",
        "by THOP's\nrules",
        "pub.",
        "pub. PSNR x2, dB\n" + " / ".join(SETS),
    ):
        table.add_column(heading, justify="left" if heading == "network" else "right", no_wrap=True)
    for result in results:
        published = result["published"]
        table.add_row(
            f"{result['network']} x{result['scale']}",
            f"{result['params']:,}",
            f"{published['params_k']:.2f}",
            *(
                f"{result[key]['macs'] / 1e9:.2f}"
                for key in ("hr_1280x720", "lr_1280x720", "lr_1280x720_thop")
            ),
            _published_macs(published),
            " / ".join(f"{value:.2f}" for value in (published["psnr"] or {}).values()),
        )
    # Wide enough that the table is never wrapped, even in a pipe, which has no width.
    console = Console(width=max(Console().width, 140))
    console.print(table)
    console.print("conv: the GMACs of the convolutions alone. Sizes and MACs:")
    for result in results:
        size = "agrees" if result["params_agree"] else "differs"
        macs = "agree" if result["macs_agree"] else "differ for a reason not known"
        console.print(f"- {result['network']}: size {size}, MACs {macs}. {result['note']}".strip())


def _published_macs(published: dict[str, Any]) -> str:
    if published["gmacs"] is not None:
        return f"{published['gmacs']:.2f}"
    low, high = published["gmacs_above_convolutions"]
    return f"conv + {low}" + (f" to {high}" if high != low else "")


def main() -> None:
    """Print the table, and write it as JSON if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here too")
    arguments = parser.parse_args()
    results = [compare(row) for row in ROWS]
    print_table(results)
    if arguments.json:
        write_json(arguments.json, {"rows": results})


if __name__ == "__main__":
    main()
