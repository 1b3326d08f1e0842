"""The chart of docs/performance.md shows the measured times."""

import csv
import importlib.util

import pytest

from tests.helpers import ROOT

FOLDER = ROOT / "tools/benchmark"
with (FOLDER / "steps.csv").open(newline="") as file:
    ROWS = list(csv.DictReader(file))


@pytest.fixture(scope="module")
def chart():
    spec = importlib.util.spec_from_file_location("chart", FOLDER / "chart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bars_are_the_ratios_of_the_measured_times(chart):
    (axes,) = chart.draw(chart.read_groups()).axes
    for bars, passes in zip(axes.containers, ("weight", "alpha"), strict=True):
        ratios = [float(r["plain_ms"]) / float(r["ours_ms"]) for r in ROWS if r["passes"] == passes]
        assert [bar.get_width() for bar in bars] == pytest.approx(ratios, rel=0.01)


def test_the_labels_of_the_stored_chart_are_the_ratios():
    text = (ROOT / "docs/images/steps.svg").read_text()
    assert all(f">{row['ratio']}</text>" in text for row in ROWS)


def test_the_notebook_has_the_same_figures():
    notebook = (FOLDER / "NOTEBOOK.md").read_text()
    for row in ROWS:
        cells = [row[key] for key in list(row)[3:10]]
        assert f"| {' | '.join(cells)} |" in notebook


def test_the_headline_is_a_measured_row():
    page = (ROOT / "docs/performance.md").read_text()
    row = ROWS[0]
    assert (row["space"], row["precision"], row["passes"]) == ("IMDN", "float32", "weight")
    assert f"{float(row['ratio']):.1f} times as fast" in page
    assert f"{row['ours_ms']} ms instead of {int(row['plain_ms']):,} ms" in page
