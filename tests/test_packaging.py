"""The package declares what it imports, and imports what is heavy only where it is used."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers import ROOT

# Where a module's name is not that of its distribution.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# torch.utils.tensorboard only wraps the package that torch does not install.
WRAPPED = {"torch.utils.tensorboard": "tensorboard"}
# Functions that import what they are given as a string.
IMPORTERS = {"__import__", "require", "import_module"}

HELP = """
import sys
from srnas.cli import main

sys.argv = ["srnas", "--help"]
try:
    main()
except SystemExit as stopped:
    assert stopped.code in (0, None), stopped.code
"""
MODULES = "\nprint('MODULES', *sys.modules)"
PEAK = """
(peak,) = (line.split() for line in open("/proc/self/status") if line.startswith("VmHWM:"))
assert peak[2] == "kB", peak
print("PEAK", int(peak[1]) / 1024)
"""


def declared(section: str, key: str) -> list[Requirement]:
    """The requirements of a key of setup.cfg; with an environment marker or not."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return [Requirement(line) for line in config[section][key].splitlines() if line]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of the modules that a file imports, also by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in IMPORTERS:
                strings = (part for arg in node.args for part in ast.walk(arg))
                yield from (
                    part.value
                    for part in strings
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )


def run(code: str) -> list[str]:
    """Run code in a process of its own; the words of the last line that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_declared_dependencies_are_those_that_are_imported():
    needed = set()
    for file in sorted((ROOT / "srnas").rglob("*.py")):
        for module in imports(ast.parse(file.read_text(encoding="utf-8"), str(file))):
            top = module.partition(".")[0]
            if top and top != "srnas" and top not in sys.stdlib_module_names:
                needed.add(canonicalize_name(DISTRIBUTIONS.get(top, top)))
            if module in WRAPPED:
                needed.add(WRAPPED[module])
    given = [
        *declared("options", "install_requires"),
        *declared("options.extras_require", "export"),
        *declared("options.extras_require", "table"),
        *declared("options.extras_require", "ncnn"),
        *declared("options.extras_require", "openvino"),
        *declared("options.extras_require", "spandrel"),
        *declared("options.extras_require", "pyiqa"),
    ]
    names = [canonicalize_name(requirement.name) for requirement in given]
    assert len(names) == len(set(names)), "declared twice"
    assert set(names) == needed


def test_versions_have_lower_bounds_only():
    for requirement in (
        *declared("options", "install_requires"),
        *declared("options.extras_require", "dev"),  # holds the other extras
    ):
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement


def test_importing_srnas_imports_none_of_its_dependencies():
    loaded = run("import sys, srnas" + MODULES)
    assert "srnas" in loaded
    assert not {"torch", "pydantic", "numpy", "typer"} & set(loaded)


def test_help_does_not_import_torch():
    loaded = run(HELP + MODULES)
    assert "srnas.cli" in loaded
    assert "torch" not in loaded


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_help_takes_little_memory():
    word, peak = run(HELP + PEAK)
    assert word == "PEAK"
    assert float(peak) < 150  # MB; torch alone takes more


def test_the_regularizers_import_no_runtime_although_one_reads_a_table_of_their_times():
    loaded = run("import sys, srnas.regularizers as r; assert len(r.REGULARIZERS)" + MODULES)
    assert "srnas.latency.table" in loaded
    heavy = {"onnx", "onnxruntime", "sklearn", "matplotlib", "srnas.export.target", "srnas.table"}
    assert not heavy & set(loaded)
