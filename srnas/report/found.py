"""What `srnas find` found, as text and as a page."""

from pathlib import Path

from srnas.files import write_atomic
from srnas.finding import Answer, Candidate, Limits
from srnas.report.charts import scatter
from srnas.report.render import render

HEADS = ("network", "fits", "PSNR, dB", "predicted", "ms", "kB", "GMACs", "parameters")


def cells(one: Candidate, fits: bool) -> list[str]:
    """Return a network's row under `HEADS`."""
    costs = one.costs
    return [
        one.name,
        "yes" if fits else "no",
        f"{one.psnr:.3f}" if one.psnr else "-",
        "-" if one.predicted is None else f"{one.predicted:.3f}",
        f"{costs['ms']:.2f}" if "ms" in costs else "-",
        f"{costs['kb']:,.0f}" if "kb" in costs else "-",
        f"{costs['macs'] / 1e9:.3f}",
        f"{costs['params']:,.0f}",
    ]


def told(answer: Answer, limits: Limits) -> list[str]:
    """Return in lines what to take, or how to search for something that fits."""
    lines = []
    for one in answer.best:
        what = "take" if one.trained else "train"
        lines.append(f"{what} {one.name}: {one.command()}")
    if not any(one.trained for one in answer.best):
        lines.append("no trained model fits; to make one:")
        lines += limits.searches()
    return lines


def write_found(answer: Answer, limits: Limits, out: Path) -> None:
    """Write what was found as a page."""
    rows = [*answer.fitting, *answer.others]
    measured = {one.name: [(one.costs["ms"], one.psnr)] for one in rows
                if one.psnr and "ms" in one.costs}  # fmt: skip
    named = (("ms", "ms"), ("kb", "kB"), ("macs", "MACs"), ("params", "parameters"))
    wanted = [f"at most {getattr(limits, key):,g} {unit}" for key, unit in named
              if getattr(limits, key)]  # fmt: skip
    page = render(
        "found.html",
        title="Networks for a budget",
        refresh=None,
        wanted=", ".join(wanted) or "the best there is",
        setting=f"x{limits.scale}; {limits.runtime} {limits.precision}, threads: "
        f"{limits.threads}, input {limits.size[0]}x{limits.size[1]}",
        head=HEADS,
        rows=[cells(one, one in answer.fitting) for one in rows],
        chart=scatter("PSNR against time", measured, "ms", "PSNR, dB") if measured else "",
        lines=told(answer, limits),
        left_out=answer.left_out,
    )
    write_atomic(out, page)
