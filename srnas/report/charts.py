"""Charts as SVG that take their ink from the page, so that they suit light and dark."""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

INK, GREY = "#0b0c0d", "#8a8f98"  # as in chart.mplstyle
COLORS = ("#3b7dd8", "#d9822b", "#2f9e6e", "#b0539a", "#c0483f", "#7a6bd0")  # on white and black
TICKS = (1, 2, 5, 10)  # steps between them, times a power of ten
NAMED = 3  # lines
SIZE = (4.3, 2.5)  # inches; as wide as a phone's screen
STYLE = Path(__file__).with_name("chart.mplstyle")
Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) by name."""


def chart(title: str, draw: Callable[[Axes], None]) -> str:
    """Return a chart with its title as a <figure>.

    Args:
        title: Title, also the alternative text.
        draw: Draws into the axes.
    """
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor="none")
        axes = figure.subplots()
        axes.set_facecolor("none")
        axes.grid()
        draw(axes)
        text = to_svg(figure, title)
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{text}</figure>"


def lines(title: str, series: Series, x: str, log: bool = False, mark: float | None = None) -> str:
    """Return a chart of lines, "" if they have no point.

    Args:
        series: The lines; a legend shows their names if there are several.
        x: What the x axis shows, in whole numbers.
        log: Whether the y axis is logarithmic.
        mark: Where to draw a vertical line.
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""

    def draw(axes: Axes) -> None:
        for (name, points), color in zip(series.items(), _cycle(len(series)), strict=True):
            marker = "o" if len(points) < 8 else None
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=color, lw=1.6, marker=marker, ms=3, label=name)
        if mark is not None:
            axes.axvline(mark, color=GREY, lw=1, ls=":")
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS, integer=True))
        axes.set_xlabel(x)
        if len(series) > 1:
            axes.legend()

    return chart(title, draw)


def ranked_lines(title: str, series: Series, x: str) -> str:
    """Return a chart of lines of which the three that end highest are named there.

    Args:
        series: The lines; the others are grey.
        x: What the x axis shows, in whole numbers.
    """
    order = sorted(series, key=lambda name: -series[name][-1][1])

    def draw(axes: Axes) -> None:
        for name in reversed(order):
            rank = order.index(name)
            color = COLORS[rank] if rank < NAMED else GREY
            width, alpha = (2.0 if rank == 0 else 1.3, 1) if rank < NAMED else (0.8, 0.55)
            xs, ys = zip(*series[name], strict=True)
            axes.plot(xs, ys, color=color, lw=width, alpha=alpha, zorder=len(order) - rank)
        low, high = axes.get_ylim()
        least = 0.085 * (high - low)  # between two labels
        place = float("inf")
        for rank, name in enumerate(order[:NAMED]):
            place = min(series[name][-1][1], place - least)
            axes.annotate(
                name,
                (series[name][-1][0], place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=COLORS[rank],
                fontsize=8,
                annotation_clip=False,
            )
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS, integer=True))
        axes.set_xlabel(x)

    return chart(title, draw)


def scatter(
    title: str, points: Series, x: str, y: str, front: Sequence[tuple[float, float]] = ()
) -> str:
    """Return a chart of named points.

    Args:
        points: Points of each group; a point's group is its label.
        front: Points of the Pareto front, joined by a line.
    """

    def draw(axes: Axes) -> None:
        if front:
            xs, ys = zip(*sorted(front), strict=True)
            axes.step(xs, ys, where="post", color=GREY, lw=1, zorder=0)
        for (name, group), color in zip(points.items(), _cycle(len(points)), strict=True):
            xs, ys = zip(*group, strict=True)
            axes.plot(xs, ys, "o", color=color, ms=5)
            axes.annotate(
                name, group[0], xytext=(4, 4), textcoords="offset points", fontsize=8, color=INK
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=TICKS))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.margins(0.15)

    return chart(title, draw)


def to_svg(figure: Figure, title: str) -> str:
    """Return a figure as an <svg> that scales with the page and has an alternative text."""
    buffer = io.StringIO()
    with mpl.rc_context(fname=STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="none")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'<svg width="([\d.]+)pt" height="[\d.]+pt"', _scaling, text, count=1)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the page
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # the same in every chart
    head, mark, rest = text.partition(">")
    return f"{head}{mark}<title>{html.escape(title)}</title>{rest}".strip()


def _scaling(found: re.Match[str]) -> str:
    return f'<svg class="chart" role="img" style="max-width:{4 / 3 * float(found[1]):.0f}px"'


def _cycle(count: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]
