"""Drawings of what a search found, for the spaces that have one."""

from collections.abc import Mapping
from typing import Any

from srnas.choice import Place
from srnas.choice.node import NONE
from srnas.report.diagram import Diagram
from srnas.spaces import check_space, space_class


def draw(space: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
    """Return drawings of a genotype, [] for spaces that have none.

    Args:
        space: The space with its options, as in an options file.
        choices: Choices of the genotype, in the format of the space's files.
    """
    drawers = {
        "imdn": _imdn,
        "dlsr": _dlsr,
        "darts": _cells,
        "nasbench201": _cells,
        "plain": _plain,
    }
    drawer = drawers.get(str(space.get("name")))
    return drawer(space, choices) if drawer else []


def _imdn(space: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
    count = space.get("num_block") or 6
    diagram = Diagram(
        f"The block of IMDN, one of {count}" if count > 1 else "The only block of IMDN"
    )
    diagram.add("x", "input", "end")
    before, kept = "x", []
    for label in ("c1", "c2", "c3"):
        diagram.add(label, f"{label}  {choices[label]}", "found", [before])
        before = diagram.add(f"{label} split", "split", "fixed", [label])
        kept.append(before)
    diagram.add("c4", f"c4  {choices['c4']}", "found", [before])
    diagram.add("concat", "concat", "fixed", [*kept, "c4"])
    diagram.add("attention", "attention", "fixed", ["concat"])
    diagram.add("fuse", "conv 1x1", "fixed", ["attention"])
    diagram.add("sum", "+", "sum", ["fuse", "x"])
    diagram.add("y", "output", "end", ["sum"])
    return [diagram]


def _dlsr(space: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
    cell = Diagram("The cell of DLSR")
    cell.add("x", "input", "end")
    before, distilled = "x", []
    for number in (1, 2, 3):
        distilled.append(cell.add(f"d{number}", "conv 1x1", "fixed", [before]))
        label = f"r{number}"
        cell.add(label, f"{label}  {choices[label]}", "found", [before])
        before = cell.add(f"sum{number}", "+", "sum", [label, before])
    distilled.append(cell.add("d4", "conv 3x3", "fixed", [before]))
    cell.add("concat", "concat", "fixed", distilled)
    cell.add("fuse", "conv 1x1, attention", "fixed", ["concat"])
    cell.add("y", "output", "end", ["fuse"])

    network = Diagram("The cells of DLSR and the links between them")
    network.add("head", "conv 3x3", "end")
    network.add("1", "cell 1", "fixed", ["head"])
    network.add("2", "cell 2", "fixed", ["1"])
    links = {key: value for key, value in choices.items() if key.startswith("link")}
    for label, inputs in links.items():
        cell_number = label.removeprefix("link")
        network.add(cell_number, f"cell {cell_number}", "found", [str(one) for one in inputs])
    cells = [name for name in network.nodes if name != "head"]
    network.add("fuse", "concat, conv 1x1, conv 3x3", "fixed", cells)
    network.add("sum", "+", "sum", ["fuse", "head"])
    network.add("y", "pixel shuffle", "end", ["sum"])
    return [network, cell]


def _plain(space: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
    options: Any = check_space(space).options
    diagram = Diagram("The blocks, with the number of channels that each replaces")
    before = diagram.add("head", "unshuffle, conv 3x3" if options.unshuffle else "conv 3x3", "end")
    blocks = len(options.widths)
    for index, width in enumerate(options.widths):
        convs, attention = (
            (value if isinstance(value, list) else [value] * blocks)[index]
            for value in (options.convs, options.attention)
        )
        ends = "" if attention == "none" else f", {attention}"
        text = f"{width}: {convs} conv 3x3{ends}"
        before = diagram.add(f"block{index}", text, "fixed", [before])
    before = diagram.add("tail", "conv 3x3", "fixed", [before])
    diagram.add("y", "pixel shuffle", "end", [before])
    return [diagram]


def _cells(space: Mapping[str, Any], choices: Mapping[str, Any]) -> list[Diagram]:
    nodes = space_class(str(space["name"])).read_choices(choices)
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
