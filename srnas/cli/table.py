"""`srnas table`: tables of trained networks, against which searches are judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srnas.cli.arguments import (
    JsonFile,
    OptionsFile,
    Overrides,
    Processes,
    need_file,
    write_figures,
)
from srnas.errors import UserError

if TYPE_CHECKING:
    from srnas.score_table import Row

app = typer.Typer(no_args_is_help=True)
FOLDERS = (Path("experiments/table"), Path("experiments/bench"))  # today's, and that of before
RESULTS = next(filter(Path.is_dir, FOLDERS), FOLDERS[0])


@app.callback()
def group() -> None:
    """Train a sample of a space's networks, predict the others, look them up."""


@app.command("build")
def build(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results, one JSON line a training")
    ] = RESULTS,
    processes: Processes = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Every N-th training, from the I-th (from 1)")
    ] = "1/1",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first trainings of the table")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Train the networks without a result; stop at any time, and start again."""
    from srnas.table.build import build as run
    from srnas.table.protocol import load_protocol

    protocol = load_protocol(*need_file(opt, overrides, "table ..."))
    run(protocol, out, processes=processes, shard=_parse_shard(shard), limit=limit, device=device)
    print(out)


ResultFolders = Annotated[
    list[Path] | None,
    typer.Option("--results", metavar="PATH", help="Folder or file of results; repeatable"),
]
TableFile = Annotated[
    Path, typer.Option("--table", metavar="FILE", help="Table that `srnas table fit` wrote")
]
MaxParams = Annotated[float | None, typer.Option(help="Largest number of parameters")]
MaxMacs = Annotated[float | None, typer.Option(help="Largest MACs of an HR image of 1280x720")]
MaxLatency = Annotated[float | None, typer.Option(help="Largest milliseconds, see the table")]


@app.command("latency")
def latency(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder of the results")] = RESULTS,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first genotypes")] = None,
) -> None:
    """Measure the sample's latency in ONNX Runtime; leave the machine alone meanwhile."""
    from srnas.table.latency import measure
    from srnas.table.protocol import load_protocol

    print(measure(load_protocol(*need_file(opt, overrides, "table ...")), out, limit))


@app.command("fit")
def fit(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    results: ResultFolders = None,
    out: Annotated[Path, typer.Option(help="Table to write, .csv or .csv.gz")] = Path("table.csv"),
    latency: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A latency table, or the times of `srnas table latency`"),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Predict all genotypes from the results, and say how well."""
    from srnas.latency.table import read_latency_table
    from srnas.table.fit import fit as run
    from srnas.table.latency import read_latency
    from srnas.table.protocol import load_protocol
    from srnas.table.results import read_results

    places = results or [RESULTS]
    protocol = load_protocol(*need_file(opt, overrides, "table ..."))
    times: dict[str, float] = {}
    for place in places:
        times |= read_latency(place, protocol) if place.is_dir() else {}
    timed = read_latency_table(latency) if latency else times
    report = run(protocol, read_results(places), out, timed)
    _show_report(report)
    write_figures(json_file, report)
    print(out)


@app.command("check")
def check(table: TableFile, results: ResultFolders = None, json_file: JsonFile = None) -> None:
    """Compare a table with trainings that it has not seen, or with those of another protocol."""
    from srnas.score_table import read_table
    from srnas.table.check import check as run
    from srnas.table.results import read_results

    found = run(read_table(table), read_results(results or [RESULTS]))
    kind = "not seen by the table" if found["same_protocol"] else "of another protocol"
    print(f"{found['genotypes']} genotypes, {kind}")
    for name, figures in found["sets"].items():
        ranks = (
            f"{label} {figures[key]['value']:.2f} [{figures[key]['low']:.2f}, "
            f"{figures[key]['high']:.2f}]"
            for label, key in (("Spearman", "spearman"), ("Kendall's tau", "tau"))
        )
        error = (
            f"; mean error {figures['mean_error']:.4f} dB, rms {figures['rms_error']:.4f} dB, "
            f"bias {figures['bias']:+.4f} dB"
            if found["same_protocol"]
            else ""
        )
        print(f"{name}: {', '.join(ranks)}{error}")
    write_figures(json_file, found)


@app.command("budget")
def budget(
    opt: OptionsFile = None,
    overrides: Overrides = None,
    results: ResultFolders = None,
    json_file: JsonFile = None,
) -> None:
    """Simulate searches that train a few random networks, from the results of many."""
    from srnas.table.budget import budget as run
    from srnas.table.budget import show
    from srnas.table.protocol import load_protocol
    from srnas.table.results import read_results

    protocol = load_protocol(*need_file(opt, overrides, "table ..."))
    rows = run(protocol, read_results(results or [RESULTS]))
    print(show(rows))
    write_figures(json_file, rows)


@app.command("query")
def query(
    genotype: Annotated[
        str, typer.Argument(help="genotype.json, or choices as in 'c1=conv_3x3 c2=...'")
    ],
    table: TableFile,
    json_file: JsonFile = None,
) -> None:
    """Look a genotype up: figures, percentile among all, and what better ones would gain."""
    from dataclasses import asdict

    from srnas.choice import Genotype
    from srnas.score_table import read_table
    from srnas.spaces import read_genotype

    found = read_table(table)
    if genotype.endswith(".json"):
        asked = Genotype.load(Path(genotype))
    else:
        asked = read_genotype(found.about["space"], genotype)
    row, judged = found.find(asked), found.judge(asked)
    _show_rows([row])
    print(
        f"better than {judged['percentile']:.1f}% of {len(found.rows):,}; the best is "
        f"{judged['regret']:.3f} dB better, the best with at most its MACs "
        f"{judged['regret_at_macs']:.3f} dB"
    )
    write_figures(json_file, asdict(row) | judged)


@app.command("best")
def best(
    table: TableFile,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_latency: MaxLatency = None,
) -> None:
    """Find the genotype with the highest PSNR within limits."""
    from srnas.score_table import read_table

    limits = {"params": max_params, "macs": max_macs, "latency": max_latency}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    _show_rows([read_table(table).best(given)])


@app.command("front")
def front(
    table: TableFile, cost: Annotated[str, typer.Option(help="params, macs or latency")] = "macs"
) -> None:
    """List the genotypes that no other one beats at the same cost or less."""
    from srnas.errors import did_you_mean
    from srnas.score_table import LIMITS, read_table

    if cost not in LIMITS:
        raise UserError(f"--cost {cost}: {did_you_mean(cost, LIMITS)}")
    _show_rows(read_table(table).front(cost))


def _show_rows(rows: "Sequence[Row]") -> None:
    sets = list(rows[0].sets)
    head = ["val", "trained", *sets, "params", "MACs", "ms"]
    print("".join(f"{name:>10}" for name in head) + "  genotype")
    for row in rows:
        cells = [f"{row.psnr:.3f}", "-" if row.measured is None else f"{row.measured:.3f}"]
        cells += [f"{row.sets[name]:.3f}" for name in sets]
        cells += [f"{row.params:,}", f"{row.macs / 1e9:.3f} G"]
        cells += ["-" if row.latency is None else f"{row.latency:.2f}"]
        print("".join(f"{cell:>10}" for cell in cells) + f"  {row.genotype}")


def _show_report(report: dict[str, Any]) -> None:
    print(f"{report['genotypes']} genotypes, {report['trainings']} trainings")
    print(f"{'cross-validated, val':28}{'tau':>8}{'Spearman':>10}{'mean error':>12}{'rms':>9}")
    for name, quality in report["models"].items():
        chosen = " *" if name == report["model"] else ""
        _show_quality(name + chosen, quality)
    for name, figures in {"val": report["val"], **report["sets"]}.items():
        _show_quality(f"{name}, chosen model", figures["quality"])
        _show_quality(f"{name}, noise alone allows", figures["ceiling"])
        print(
            f"{name}: spread {figures['spread']:.4f} dB, noise of a training within its seed "
            f"{figures['noise']:.4f} dB, with another seed {figures['retraining']:.4f} dB "
            f"({figures['repeated']} genotypes)"
        )


def _show_quality(name: str, quality: dict[str, float]) -> None:
    print(
        f"{name:28}{quality['tau']:8.3f}{quality['spearman']:10.3f}"
        f"{quality['mean_error']:12.4f}{quality['rms_error']:9.4f}"
    )


def _parse_shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UserError(f"--shard {text}: write it as I/N with I from 1 to N, such as 3/16")
    return int(number), int(count)
