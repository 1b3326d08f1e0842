"""Drawings of cells."""

from collections.abc import Mapping
from typing import Any

from srnas.choice import Choices, Place
from srnas.choice.node import NONE
from srnas.diagram import Diagram


def draw_cells(nodes: Choices) -> list[Diagram]:
    """Draw a cell of each type.

    Args:
        nodes: The edges of each node by place, whose names are numbers that follow those of the
            cell's inputs.
    """
    kinds = dict.fromkeys(place.group for place in nodes)
    return [_cell(kind, {p: c for p, c in nodes.items() if p.group == kind}) for kind in kinds]


def _cell(kind: str, nodes: Mapping[Place, Any]) -> Diagram:
    diagram = Diagram("The cell" if kind in ("", "cell") else f"The {kind} cell")
    first = min(int(place.node) for place in nodes)
    inputs = {0: "input"} if first == 1 else {0: "cell before last", 1: "last cell"}
    for number, text in inputs.items():
        diagram.add(f"node{number}", text, "end")
    for place, pairs in nodes.items():
        ways = []
        for candidate, source in pairs:
            if candidate != NONE:
                edge = f"{place.node}<-{source}"
                ways.append(diagram.add(edge, candidate, "found", [f"node{source}"]))
        diagram.add(f"node{place.node}", place.node, "sum", ways)
    last = [f"node{place.node}" for place in nodes]
    if len(inputs) == 2:
        diagram.add("y", "concat", "end", last)
    else:
        diagram.add("y", "output", "end", last[-1:])
    return diagram
