"""The table of folders in docs/architecture.md: a row imports from itself and the rows above."""

import ast
import re
from graphlib import TopologicalSorter

from tests.helpers import ROOT

FILES = {path.relative_to(ROOT / "srnas"): path for path in (ROOT / "srnas").rglob("*.py")}
NAMES = {".".join(("srnas", *f.with_suffix("").parts)).removesuffix(".__init__"): f for f in FILES}
TABLE = re.findall(r"^\| (`.+?`) \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
ROWS = {name: n for n, row in enumerate(TABLE) for name in re.findall(r"`(.+?)/?`", row)}


def imports(source: str) -> set[str]:
    """The modules of srnas that a source imports, also in functions and for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & NAMES.keys()


GRAPH = {name: imports(FILES[file].read_text()) - {name} for name, file in NAMES.items()}


def row(name: str) -> int:
    """The number of a module's row: that of its file, or else that of the folder it lies in."""
    (number, *_) = (
        ROWS[str(path)] for path in (NAMES[name], *NAMES[name].parents) if str(path) in ROWS
    )
    return number


def test_imports_lead_to_the_same_row_or_to_one_above():
    wrong = [(a, b) for a, targets in GRAPH.items() for b in targets if row(b) > row(a)]
    assert not wrong
    assert len(GRAPH) > 150
    assert max(map(row, GRAPH)) == row("srnas") > min(map(row, GRAPH))


def test_no_imports_go_in_a_circle():
    TopologicalSorter(GRAPH).prepare()
