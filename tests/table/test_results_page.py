"""The table, the figure and the CSV files of docs/results.md are what the stored results give."""

import json
import math
import re

import numpy as np
import pytest

from srnas.score_table import read_table
from srnas.table.study import read_searched
from tests.helpers import ROOT
from tools import results_page

DATA = ROOT / "datasets"
PAGE = (ROOT / "docs/results.md").read_text()
TABLE = read_table(DATA / "imdn_x2.csv.gz")


@pytest.fixture(scope="module")
def methods():
    return results_page.methods(TABLE)


def stored(name):
    lines = [line.split(",") for line in (DATA / name).read_text().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_the_csv_files_are_current():
    for name, text in results_page.files(TABLE).items():
        assert (DATA / name).read_text() == text, f"{name}: run tools/results_page.py"
        assert f"(../datasets/{name})" in PAGE


@pytest.mark.parametrize("name", results_page.STUDIES)
def test_every_search_belongs_to_an_arm(name):
    found = read_searched([DATA / results_page.STUDIES[name][1]])
    assert sum(int(row["seeds"]) for row in stored(f"{name}.csv")) == len(found)


def test_the_table_of_the_page_is_current(methods):
    assert results_page.BEGIN + results_page.show(methods) + results_page.END in PAGE


def test_the_figure_shows_the_stored_figures(methods):
    rows = {results_page.TITLES[row["arm"]]: row for row in stored("imdn_x2_study.csv")}
    expected = [rows[method.title] for method in methods]
    (axes,) = results_page.draw(methods).axes
    (errors,) = [c for c in axes.containers if hasattr(c, "has_xerr")]
    means, _, (intervals,) = errors.lines
    assert list(means.get_xdata()) == pytest.approx(
        sorted((float(row["percentile"]) for row in expected), reverse=True), abs=0.006
    )
    ends = np.array([segment[:, 0] for segment in intervals.get_segments()])
    for column, key in enumerate(("percentile_low", "percentile_high")):
        assert ends[:, column] == pytest.approx([float(r[key]) for r in expected], abs=0.006)
    assert [label.get_text() for label in axes.get_yticklabels()] == [m.title for m in methods]
    seeds = [line for line in axes.lines if line.get_marker() == "|"]
    assert [np.mean(line.get_xdata()) for line in seeds] == pytest.approx(
        [float(row["percentile"]) for row in expected], abs=0.006
    )
    for bar, row in zip(axes.patches, expected, strict=True):
        assert bar.get_x() < float(row["random_percentile"]) < bar.get_x() + bar.get_width()


def test_the_stored_figure_is_of_these_arrays(methods):
    text = results_page.IMAGE.read_text()
    described = re.search(r"<dc:description>(.*?)</dc:description>", text)[1]
    expected = results_page.rounded([method._asdict() for method in methods])
    assert json.loads(described) == expected


def irwin_hall(x, n):
    """The probability that n uniform numbers in [0, 1] have a sum of at most x."""
    terms = ((-1) ** k * math.comb(n, k) * (x - k) ** n for k in range(math.floor(x) + 1))
    return sum(terms) / math.factorial(n)


def test_the_band_of_single_random_networks_is_that_of_means_of_uniform_numbers():
    band = results_page.central(results_page.band_means(TABLE, 1, 5))
    assert band.mean == pytest.approx(50, abs=0.5)
    assert irwin_hall(5 * band.low / 100, 5) == pytest.approx(0.025, abs=0.007)
    assert irwin_hall(5 * band.high / 100, 5) == pytest.approx(0.975, abs=0.007)
