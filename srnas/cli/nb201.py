"""`srnas nb201`: look up cells in NAS-Bench-201."""

from pathlib import Path
from typing import Annotated

import typer

from srnas.cli.arguments import JsonFile, write_figures
from srnas.errors import UserError, did_you_mean

app = typer.Typer(no_args_is_help=True)

TableFile = Annotated[
    Path, typer.Option("--table", metavar="FILE", help="CSV, see datasets/README.md")
]
TABLE = Path("datasets/nasbench201.csv.gz")


@app.callback()
def group() -> None:
    """Look up NAS-Bench-201: test accuracies of its 15,625 cells."""


@app.command("query")
def query(
    arch: Annotated[str, typer.Argument(help="|op~0|+|op~0|op~1|+|op~0|op~1|op~2|")],
    table: TableFile = TABLE,
    json_file: JsonFile = None,
) -> None:
    """Print a cell's test accuracies after 200 epochs, and its network's parameter count."""
    from srnas.spaces.nasbench201 import read_arch
    from srnas.spaces.nasbench201_table import load_table, look_up

    read_arch(arch)
    _tell(arch, look_up(load_table(table), arch, table), json_file)


@app.command("best")
def best(
    table: TableFile = TABLE,
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="cifar10, cifar100, imagenet16-120")
    ] = "cifar10",
    json_file: JsonFile = None,
) -> None:
    """Find the cell with the best test accuracy on a data set."""
    from srnas.spaces.nasbench201_table import COLUMNS, load_table

    if dataset not in COLUMNS:
        raise UserError(f"--dataset {dataset}: {did_you_mean(dataset, COLUMNS)}")
    accuracies = load_table(table)
    arch = max(accuracies, key=lambda arch: accuracies[arch][dataset])
    _tell(arch, accuracies[arch], json_file)


def _tell(arch: str, accuracies: dict[str, float], json_file: Path | None) -> None:
    from srnas.choice import Genotype
    from srnas.cost import count_parameters
    from srnas.spaces import derived_network

    network = derived_network({"name": "nasbench201"}, Genotype("nasbench201", {"cell": arch}))
    parameters = count_parameters(network)
    print(arch)
    for name, accuracy in accuracies.items():
        print(f"{name:16}{accuracy:.4f} %")
    print(f"{'parameters':16}{parameters:,} (10 classes)")
    write_figures(json_file, {"arch": arch, "accuracy": accuracies, "params": parameters})
