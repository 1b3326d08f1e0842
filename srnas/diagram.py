"""Layered drawings of networks as SVG: boxes from top to bottom, arrows between them."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

BOX, GAP, LAYER = 26, 14, 54  # height of a box, least distance of two, distance of layers
MARGIN = 8
LETTER = 7.0  # width of a letter at 12 px, in the fonts of the page
SWEEPS = 12

Point = tuple[float, float]


@dataclass
class Diagram:
    """A directed graph without cycles.

    Attributes:
        title: What it shows.
        nodes: Text and kind of each node by its name. Kinds are "end" (input, output), "fixed",
            "found" (a searched choice) and "sum".
        edges: (from, to), by names.
    """

    title: str
    nodes: dict[str, tuple[str, str]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, text: str, kind: str = "fixed", after: Iterable[str] = ()) -> str:
        """Add a node and the edges that lead to it; return its name."""
        self.nodes[name] = (text, kind)
        self.edges += [(source, name) for source in after]
        return name

    def svg(self) -> str:
        """Return the drawing, with an alternative text that lists its edges."""
        points, layers = _layout(self)
        left = min(points[n][0] - _width(self, n) / 2 for n in points) - MARGIN
        right = max(points[n][0] + _width(self, n) / 2 for n in points) + MARGIN
        width, height = right - left, LAYER * (max(layers.values()) + 1) - LAYER + BOX + 2 * MARGIN
        shapes = [_arrow(path) for path in _paths(self, points, layers)]
        shapes += [_box(self, name, points[name]) for name in self.nodes]
        edges = "; ".join(f"{self.nodes[a][0]} to {self.nodes[b][0]}" for a, b in self.edges)
        return (
            f'<svg class="diagram" role="img" viewBox="{left:.0f} {-BOX / 2 - MARGIN:.0f} '
            f'{width:.0f} {height:.0f}" style="max-width:{width:.0f}px">'
            f"<title>{html.escape(f'{self.title}: {edges}')}</title>{''.join(shapes)}</svg>"
        )


def _width(diagram: Diagram, name: str) -> float:
    if name not in diagram.nodes:  # where a long arrow passes
        return 4
    text, kind = diagram.nodes[name]
    return BOX if kind == "sum" else max(44, 20 + LETTER * len(text))


def _layout(diagram: Diagram) -> tuple[dict[str, Point], dict[str, int]]:
    """Return the middle of every node, and of where arrows pass a layer, and their layers."""
    layers = _layers(diagram)
    chains = _chains(diagram.edges, layers)
    below: dict[str, list[str]] = {name: [] for name in layers}
    above: dict[str, list[str]] = {name: [] for name in layers}
    for chain in chains:
        for first, second in pairwise(chain):
            below[first].append(second)
            above[second].append(first)
    rows: list[list[str]] = [[] for _ in range(max(layers.values()) + 1)]
    for name, layer in layers.items():
        rows[layer].append(name)
    x = {name: float(index) for row in rows for index, name in enumerate(row)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            neighbours = above if down else below
            wanted = {n: fmean(x[m] for m in neighbours[n]) if neighbours[n] else x[n] for n in row}
            row.sort(key=lambda n: wanted[n])
            x |= _spread(diagram, row, wanted)
    for row in 4 * [*rows, *reversed(rows)]:  # straighten with the order as it is
        wanted = {n: fmean(x[m] for m in [*above[n], *below[n]] or [n]) for n in row}
        x |= _spread(diagram, row, wanted)
    return {name: (x[name], float(LAYER * layer)) for name, layer in layers.items()}, layers


def _layers(diagram: Diagram) -> dict[str, int]:
    """Return the length of the longest way to each node; edges lead to later nodes."""
    layers: dict[str, int] = {}
    for name in diagram.nodes:
        before = [layers[a] for a, b in diagram.edges if b == name]
        layers[name] = 1 + max(before, default=-1)
    return layers


def _chains(edges: Sequence[tuple[str, str]], layers: dict[str, int]) -> list[list[str]]:
    """Return each edge as a chain of a name in every layer; new names are added to `layers`."""
    chains = []
    for number, (source, target) in enumerate(edges):
        passed = [f"{number}@{layer}" for layer in range(layers[source] + 1, layers[target])]
        layers |= {name: int(name.partition("@")[2]) for name in passed}
        chains.append([source, *passed, target])
    return chains


def _spread(diagram: Diagram, row: Sequence[str], wanted: Mapping[str, float]) -> dict[str, float]:
    """Return positions in the order of the row, as near as wanted as the widths allow."""
    offsets, total = [], 0.0
    for index, name in enumerate(row):
        if index:
            total += (_width(diagram, row[index - 1]) + _width(diagram, name)) / 2 + GAP
        offsets.append(total)
    # blocks of touching boxes, merged while a block would overlap the one before it
    blocks: list[list[float]] = []
    for name, offset in zip(row, offsets, strict=True):
        blocks.append([wanted[name] - offset])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    starts = [fmean(block) for block in blocks for _ in block]
    return {name: s + o for name, s, o in zip(row, starts, offsets, strict=True)}


def _paths(
    diagram: Diagram, points: Mapping[str, Point], layers: Mapping[str, int]
) -> list[list[Point]]:
    """Return the points of each arrow, from the bottom of a box to the top of another."""
    paths = []
    for number, (source, target) in enumerate(diagram.edges):
        passed = [points[f"{number}@{n}"] for n in range(layers[source] + 1, layers[target])]
        (x0, y0), (x1, y1) = points[source], points[target]
        paths.append([(x0, y0 + BOX / 2), *passed, (x1, y1 - BOX / 2)])
    return paths


def _arrow(path: Sequence[Point]) -> str:
    (x, y), *rest = path
    steps = [f"M{x:.1f} {y:.1f}"]
    for x1, y1 in rest:
        middle = (y + y1) / 2
        steps.append(f"C{x:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
        x, y = x1, y1
    head = f"M{x - 3.5:.1f} {y - 6:.1f}L{x:.1f} {y:.1f}L{x + 3.5:.1f} {y - 6:.1f}"
    return f'<path d="{"".join(steps)}{head}"/>'


def _box(diagram: Diagram, name: str, point: Point) -> str:
    text, kind = diagram.nodes[name]
    width, (x, y) = _width(diagram, name), point
    radius = BOX / 2 if kind in ("sum", "end") else 5
    return (
        f'<g class="{kind}"><rect x="{x - width / 2:.1f}" y="{y - BOX / 2:.1f}" '
        f'width="{width:.1f}" height="{BOX}" rx="{radius:g}"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">{html.escape(text)}</text></g>'
    )
