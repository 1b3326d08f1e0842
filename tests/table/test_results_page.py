"""The tables of docs/results.md are what the stored results give, cell by cell."""

from pathlib import Path

import pytest

from srnas.latency.table import read_latency_table
from srnas.score_table import read_table
from srnas.table.budget import budget
from srnas.table.budget import show as show_budget
from srnas.table.judge import collect, show
from srnas.table.protocol import load_protocol
from srnas.table.results import read_results
from srnas.table.study import load_study, read_searched
from tests.helpers import ROOT

PAGE = (ROOT / "docs/results.md").read_text()
TRAINING_SECONDS = 34  # the default of `srnas study collect`


@pytest.mark.parametrize(
    ("study", "results"),
    [
        ("study/imdn_table.yml", "imdn_x2_study.jsonl.gz"),
        ("study/imdn_settings.yml", "imdn_x2_settings.jsonl"),
    ],
)
def test_study(study, results):
    found = read_searched([ROOT / "datasets" / results])
    table = read_table(ROOT / "datasets/imdn_x2.csv.gz")
    times = read_latency_table(ROOT / "datasets/imdn_x2_latency.json")
    rows = collect(load_study(Path(study)), found, table, TRAINING_SECONDS, times)
    assert sum(row["seeds"] for row in rows) == len(found), "a search belongs to no arm"
    assert show(rows) in PAGE


def test_budget():
    results = read_results([ROOT / "datasets/imdn_x2_results.jsonl.gz"])
    assert show_budget(budget(load_protocol(Path("table/imdn_x2.yml")), results)) in PAGE
