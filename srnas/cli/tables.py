"""Tables of results on the terminal."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srnas.metrics import best_of, find_metric, show_value, title_of

COLUMNS = 3  # models in a table of 80 characters
METRICS = 4  # beside the columns of sets, networks and parameters
SETS = 2  # sets, beside a column of text


def new_table(texts: Iterable[str], numbers: Iterable[str], **how: Any) -> Table:
    """Return a table with columns of texts, and of numbers, which are set to the right."""
    table = Table(**how)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(escape(name), justify="right", overflow="fold")
    return table


def quality_table(result: dict[str, Any], names: Sequence[str]) -> None:
    """Print what `srnas test` measured: a row for bicubic and each model, a column for each metric.

    Args:
        result: What `srnas.benchmarks.benchmark.test` returned.
        names: Names of the models, the main one first.
    """
    console = Console()
    models = list(zip(names, (result, *result.get("beside", ())), strict=True))
    for name, model in models:
        if not model.get("genotype"):  # an exported file, or a network of a space without choices
            continue
        choices = " ".join(f"{label}={choice}" for label, choice in model["genotype"].items())
        console.print(f"{name}: {choices}", markup=False, highlight=False)
    bicubic = {"results": [one["bicubic"] for one in result["results"]]}
    methods = [("bicubic", bicubic), *models]
    metrics = result["results"][0]["metrics"]
    for start in range(0, len(metrics), METRICS):
        console.print(_quality_table(result, methods, metrics[start : start + METRICS]))


def _quality_table(
    result: dict[str, Any], methods: Sequence[tuple[str, dict[str, Any]]], metrics: Sequence[str]
) -> Table:
    table = new_table(
        ("set", "network"),
        (*map(title_of, metrics), "parameters"),
        title=f"x{result['scale']}, protocol {result['protocol']}",
        caption=escape("\n".join(_notes(result, metrics))),
    )
    for index, one in enumerate(result["results"]):
        measured = [method["results"][index] for _, method in methods]
        best = {m: best_of(m, [values[m] for values in measured]) for m in metrics}
        for row, (name, method) in enumerate(methods):
            values = measured[row]
            cells = (_cell(metric, values[metric], best[metric]) for metric in metrics)
            table.add_row(
                "" if row else escape(one["dataset"]),
                escape(name),
                *cells,
                f"{method['params']:,}" if "params" in method else "",
                end_section=row + 1 == len(methods),
            )
    return table


def _cell(metric: str, value: float, best: float | None) -> str:
    text = show_value(metric, value)
    return f"[bold]{text}[/bold]" if value == best else text


def _notes(result: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    classes = {metric: find_metric(metric) for metric in metrics}
    lower = [title_of(name) for name, one in classes.items() if one and not one.higher_is_better]
    made = [one["dataset"] for one in result["results"] if one["lr_source"] != "files"]
    return [
        *([f"lower is better: {'; '.join(lower)}"] if lower else []),
        *([f"LR made by bicubic: {', '.join(made)}"] if made else []),
    ]


def explain_table(model: dict[str, Any], name: str, protocol: str) -> None:
    """Print the PSNR of one model's SR images under every protocol and common mistake.

    Args:
        model: The model's entry in the result of a test with `explain`.
        protocol: The main protocol, from which differences are shown.
    """
    for start in range(0, len(model["results"]), SETS):
        results = model["results"][start : start + SETS]
        table = new_table(
            ("protocol",),
            [one["dataset"] for one in results],
            title=f"{escape(name)}: the same images under other protocols, PSNR (difference)",
        )
        table.add_column("what it does")
        psnrs = [{row["protocol"]: row["psnr"] for row in one["explained"]} for one in results]
        for row in results[0]["explained"]:
            other = row["protocol"]
            cells = (f"{p[other]:.3f} ({p[other] - p[protocol]:+.3f})" for p in psnrs)
            table.add_row(other, *cells, row["description"])
        Console().print(table)


def scorecard_tables(card: dict[str, Any], names: Sequence[str]) -> None:
    """Print a scorecard, a column for each model; a table has at most three.

    Args:
        card: What `srnas.benchmarks.scorecard.scorecard` returned.
        names: Names of the models, the main one first.
    """
    for start in range(0, len(names), COLUMNS):
        models = card["models"][start : start + COLUMNS]
        table = new_table(
            ("figure",),
            names[start : start + COLUMNS],
            title=f"PSNR on RGB by {card['rgb']}, on Y by {card['y']}",
            caption=f"MACs, activations and memory for LR of {card['lr']}\n"
            f"runtime: median over {escape(card['timed_on'])} on {card['device']}",
        )
        for dataset in models[0]["psnr_rgb"]:
            for channels in ("rgb", "y"):
                psnrs = (f"{model[f'psnr_{channels}'][dataset]:.3f}" for model in models)
                table.add_row(f"{escape(dataset)} {channels.upper()}, dB", *psnrs)
        table.add_row("parameters", *(f"{model['params']:,}" for model in models))
        table.add_row("MACs, G", *(f"{model['macs'] / 1e9:,.3f}" for model in models))
        table.add_row("activations, M", *(f"{model['activations'] / 1e6:,.2f}" for model in models))
        peaks = (model["peak_memory"] for model in models)
        memory = ("not measured" if b is None else f"{b / 2**20:,.1f}" for b in peaks)
        table.add_row("peak memory, MiB", *memory)
        table.add_row("runtime, ms", *(f"{model['runtime_ms']:,.2f}" for model in models))
        Console().print(table)


def cost_table(result: dict[str, Any]) -> None:
    """Print what `Task.profile` returned."""
    names, rows = ["parameters"], [f"{result['params']:,}"]
    for convention, cost in result.items():
        if convention == "params":
            continue
        level, _, size = convention.partition("_")  # "lr_1280x720", or "input" with its "size"
        name = f"{level.upper()} {size}" if size else f"{convention} {cost['size']}"
        names.append(f"GMACs, {name}")
        rows.append(f"{cost['macs'] / 1e9:,.3f}")
    table = new_table((), names)
    table.add_row(*rows)
    Console().print(table)


def analysis_tables(result: dict[str, Any]) -> None:
    """Print what `srnas.engine.analyze.analyze` returned."""
    console = Console()
    _trajectory_table(console, result["trajectory"])
    if "substitution" in result:
        _substitution_table(console, result["substitution"])
    if "gradients" in result:
        _gradient_tables(console, result["gradients"])
    for name, one in result.items():
        if name.startswith("landscape_"):
            console.print(
                f"{name}: loss {one['loss']:.4g} at the checkpoint, {one['min']:.4g} to "
                f"{one['max']:.4g} within {one['span']:g} of it",
                soft_wrap=True,
            )


def _trajectory_table(console: Console, found: dict[str, Any]) -> None:
    verdict = "converged" if found["converged"] else "not converged"
    table = new_table(
        ("figure",),
        ("first", "last", "min", "max"),
        title=f"epoch {found['epochs']} of {found['epochs_planned']}; genotype since epoch "
        f"{found['convergence_epoch'] + 1} ({found['converge_share']:.0%}): {verdict}",
    )
    for name, values in found["figures"].items():
        table.add_row(name, *(f"{value:.4g}" for value in values.values()))
    console.print(table)


def _substitution_table(console: Console, found: dict[str, Any]) -> None:
    title = f"{escape(found['label'])}: test accuracy with each candidate, %"
    table = new_table(("candidate",), ("alpha", *found["accuracy"]), title=title)
    for name, alpha, *scores in zip(
        found["candidates"], found["alphas"], *found["accuracy"].values(), strict=True
    ):
        table.add_row(name, f"{alpha:.4g}", *(f"{score:.2f}" for score in scores))
    taus = ("-" if tau is None else f"{tau:.2f}" for tau in found["tau"].values())
    table.add_row("Kendall's tau", "", *taus)
    console.print(table)


def _gradient_tables(console: Console, found: dict[str, Any]) -> None:
    cosines = [edge["cosine"] for edge in found["edges"].values()]
    console.print(
        f"cosine of gradients, training against alphas' batches: weights "
        f"{found['weights']['cosine']:.3f}; mixed operations' outputs {fmean(cosines):.3f} on "
        f"average ({min(cosines):.3f} to {max(cosines):.3f})",
        soft_wrap=True,
    )
    title = "dL/dp of the candidates: the lower, the more they are asked for"
    table = new_table(("candidate",), found["operators"], title=title)
    for name in found["operators"]["all"]:
        values = (row.get(name) for row in found["operators"].values())
        table.add_row(name, *("" if value is None else f"{value:.3g}" for value in values))
    console.print(table)
