"""Studies: searches that are run once, continued, and judged with intervals."""

import json
import math
import os

import numpy as np
import pytest
import yaml

from srnas.choice import Genotype
from srnas.engine.run import LOCK
from srnas.engine.sample import all_genotypes
from srnas.errors import UserError
from srnas.files import write_json_lines
from srnas.latency.table import LatencyTable
from srnas.lock import hold
from srnas.score_table import Row, read_table, write_table
from srnas.spaces import check_space
from srnas.table.judge import agreement, collect, holm, interval, minutes_to_stay, rival, show
from srnas.table.study import Searched, load_study, read_searched, run
from tests.helpers import kill_when, search_options, srnas

NAMES = ["conv_3x3", "conv_5x5"]
SPACE = {"name": "imdn", "num_feat": 8, "num_block": 1, "candidates": NAMES}


@pytest.fixture
def table(tmp_path):
    """All 16 genotypes; each 5x5 adds 0.1, 0.2, 0.4 or 0.8 dB."""
    rows = []
    for number, genotype in enumerate(all_genotypes(SPACE)):
        large = [name == "conv_5x5" for name in genotype.choices.values()]
        psnr = 30 + sum(0.1 * 2**i for i, one in enumerate(large) if one)
        rows.append(Row(str(genotype), psnr, None, 0, {}, 100 + number, 10 + sum(large), None))
    about = {"space": check_space(SPACE).to_dict(), "report": {"val": {"noise": 0.0}}}
    write_table(tmp_path / "t.csv", about, rows)
    return read_table(tmp_path / "t.csv")


@pytest.fixture
def file(tmp_path, photo_folder):
    search = search_options(tmp_path, photo_folder, space=SPACE, epochs=2, regularizers=[])
    del search["name"], search["experiments"]
    search |= {"val_every_epochs": 0, "warmup_epochs": 0}
    study = {
        "name": "small",
        "search": search,
        "seeds": [0, 1],
        "arms": {"plain": {}, "quick": {"method": "darts", "set": ["alpha_optimizer.lr=0.05"]}},
    }
    (tmp_path / "study.yml").write_text(yaml.safe_dump(study))
    return tmp_path / "study.yml"


@pytest.mark.parametrize(
    ("count", "t"),  # quantiles of Student's t with 4 degrees of freedom, from its printed table
    [(1, 2.776), (5, 4.604), (10, 5.598)],
)
def test_an_interval_is_that_of_students_t(count, t):
    values = [1.0, 2.0, 4.0, 5.0, 8.0]  # mean 4, squares of distances 9 + 4 + 0 + 1 + 16
    found = interval(values, count)
    half = t * math.sqrt(30 / 4 / 5)
    assert found.mean == 4
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half), abs=1e-3)
    assert interval(values, count, (0, 6)) == (4, max(0, found.low), 6)
    assert interval([3.0, 3.0], count) == (3, 3, 3)
    assert math.isnan(interval([3.0], count).low)


def test_holms_correction_is_that_of_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([0.01, math.nan, 0.04])[::2] == pytest.approx([0.02, 0.04])
    assert math.isnan(holm([math.nan])[0])


def test_the_best_of_k_random_has_the_expected_maximum(table):
    # the largest of k ranks from 0 to n - 1 is above i with probability 1 - ((i + 1) / n)^k
    for draws in (1, 3, 8):
        expected = sum(1 - ((i + 1) / 16) ** draws for i in range(15)) / 15
        assert rival(table, draws) == pytest.approx(100 * expected, abs=1.5)


def test_agreement_is_one_for_alphas_that_know_the_table(table):
    logits = [0.1 * 2**i for i in range(4)]
    p = {f"c{i + 1}": [1 / (1 + math.exp(g)), 1 / (1 + math.exp(-g))] for i, g in enumerate(logits)}
    assert agreement(p, table) == pytest.approx(1)
    assert agreement({label: row[::-1] for label, row in p.items()}, table) == pytest.approx(-1)
    assert math.isnan(agreement({label: [0.5, 0.5] for label in p}, table))


def test_a_study_is_run_once_and_judged(file, table, tmp_path):
    study = load_study(file)
    run(study, tmp_path / "out", processes=2)
    results = read_searched([tmp_path / "out"])
    assert [(r.arm, r.seed) for r in results] == [
        (a, s) for a in ("plain", "quick") for s in (0, 1)
    ]
    assert all(len(r.genotypes) == 2 and r.cpu_seconds > 0 for r in results)
    said = srnas("study", "run", "-opt", file, "--out", tmp_path / "out").stdout
    assert "searches to do: 0" in said
    changed = load_study(file, ["arms.quick.set=[alpha_optimizer.lr=0.06]"])
    assert changed.identity("plain") == study.identity("plain")
    assert changed.identity("quick") != study.identity("quick")
    assert [row["arm"] for row in collect(changed, results, table, 1.0)] == ["plain"]
    rows = collect(study, results, table, 1.0)
    for row in rows:
        ends = [r.genotypes[-1] for r in results if r.arm == row["arm"]]
        judged = [table.judge(Genotype("imdn", end)) for end in ends]
        assert row["percentile"].mean == pytest.approx(np.mean([j["percentile"] for j in judged]))
        assert row["regret"].low <= row["regret"].mean <= row["regret"].high
        assert row["lead"].mean == pytest.approx(row["percentile"].mean - row["rival"])
    write_json_lines(tmp_path / "all.jsonl.gz", ({**vars(r)} for r in results))
    shown = srnas(
        "study", "collect", "-opt", file, "--table", table.path,
        "--results", tmp_path / "all.jsonl.gz", "--training-seconds", "1",
        "--json", tmp_path / "rows.json",
    )  # fmt: skip
    assert shown.stdout.strip() == show(rows), shown.stderr
    assert "| ms |" not in show(rows)
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 2


def test_times_are_those_of_the_networks_at_the_end(file, table):
    study = load_study(file)
    genotypes = [{f"c{i + 1}": NAMES[large] for i in range(4)} for large in (0, 1)]
    even = {f"c{i + 1}": [0.4, 0.6] for i in range(4)}
    results = [
        Searched("plain", seed, study.identity("plain"), [genotypes[0], end], even, 0, 1.0)
        for seed, end in enumerate((genotypes[1], genotypes[0]))
    ]
    times = {f"c{i + 1}": {"conv_3x3": 20.0, "conv_5x5": 20.0 + 2**i} for i in range(4)}
    latency = LatencyTable({}, {}, {}, 20.0, times, {}, {})
    (row,) = collect(study, results, table, 1.0, latency)
    assert row["ms"] == pytest.approx((20 + 20 + 1 + 2 + 4 + 8) / 2)
    assert "| 27.5 |" in show([row])


def test_the_minutes_until_a_search_stays_in_the_upper_tenth(file, table):
    study = load_study(file)
    # the best of the 16 genotypes, and the one that 12 of 15 are worse than
    best, worse = ({f"c{i + 1}": NAMES[i >= least] for i in range(4)} for least in (0, 2))
    even = {f"c{i + 1}": [0.4, 0.6] for i in range(4)}
    courses = [
        ([best, worse, best, best], 120.0, 2 * 3 / 4),
        ([best] * 4, 120.0, 2 * 1 / 4),
        ([best, best, best, worse], 120.0, None),
        ([best] * 4, None, None),
    ]
    results = [
        Searched("plain", seed, study.identity("plain"), course, even, 0, seconds)
        for seed, (course, seconds, _) in enumerate(courses)
    ]
    found = [minutes_to_stay(result, table) for result in results]
    assert found == [minutes for _, _, minutes in courses]
    (row,) = collect(study, results, table, 1.0)
    assert row["good"] == [1.5, 0.5]
    assert "| 2, after 1.0 |" in show([row])


def test_a_killed_study_continues_its_search_to_the_same_result(file, tmp_path):
    overrides = ["search.epochs=6", "search.checkpoint_every=2", "seeds=[0]", "arms={plain: {}}"]
    command = ("study", "run", "-opt", file, *overrides)
    out = tmp_path / "killed"
    kill_when(
        (*command, "--out", out),
        lambda: bool(list(out.glob("runs-*/plain-0/checkpoints/last.pt"))),
    )
    assert read_searched([out]) == [], "it was killed before its end"
    study = load_study(file, overrides)
    run(study, out)
    run(study, tmp_path / "whole")
    (one,), (other,) = read_searched([out]), read_searched([tmp_path / "whole"])
    assert one.cpu_seconds is None
    assert (one.genotypes, one.probabilities) == (other.genotypes, other.probabilities)


def test_a_folder_in_which_another_process_runs_a_study_is_refused(file, tmp_path):
    study, out = load_study(file), tmp_path / "o"
    with (
        hold(out / LOCK, out, "wait"),
        pytest.raises(UserError, match=rf"o: is in use .*pid {os.getpid()}\); .*another --out"),
    ):
        run(study, out)
    assert os.listdir(out) == [LOCK]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("seeds=[]", "seeds"),
        ("arms={x: {method: sa_dart}}", "did you mean 'sa_darts'"),
        ("arms={x: {set: [epoch=3]}}", "unknown key 'epoch'"),
        ("serach=3", "serach"),
    ],
)
def test_a_wrong_study_is_told(file, change, told):
    with pytest.raises(UserError, match=told):
        load_study(file, [change])


def test_an_unknown_arm_is_told(file, tmp_path):
    refused = srnas("study", "run", "-opt", file, "--arm", "plian", "--out", tmp_path / "o")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "plain, quick" in refused.stderr
