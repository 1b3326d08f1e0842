"""A table is compared with trainings that it has not seen."""

import json
from itertools import product

import numpy as np
import pytest
import yaml
from scipy import stats

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.score_table import Row, read_table, write_table
from srnas.table.check import check
from srnas.table.protocol import jobs, load_protocol
from srnas.table.results import Result
from tests.helpers import srnas, write_results
from tests.table.test_build import PROTOCOL

NAMES = ("conv_3x3", "conv_5x5")


def result(genotype, psnr, protocol="p", seed=0, number=0):
    scores = {"val": {"psnr": psnr, "ssim": 0.9}, "Set5": {"psnr": psnr + 4, "ssim": 0.9}}
    return Result(protocol, number, genotype.choices, seed, scores, 1, 1, 0.1, 1.0, "d")


@pytest.fixture
def table(tmp_path):
    """All 16 genotypes of two candidates, 4 of them trained; predictions with a known error."""
    space = {"name": "imdn", "candidates": list(NAMES)}
    genotypes = [
        Genotype("imdn", dict(zip(("c1", "c2", "c3", "c4"), picks, strict=True)))
        for picks in product(NAMES, repeat=4)
    ]
    rows = [
        Row(
            str(g),
            30 + 0.01 * i,
            30.0 if i < 4 else None,
            int(i < 4),
            {"Set5": 34 + 0.01 * i},
            9,
            i,
            None,
        )
        for i, g in enumerate(genotypes)
    ]
    write_table(tmp_path / "t.csv", {"space": space, "report": {"protocol": "p"}}, rows)
    return read_table(tmp_path / "t.csv"), genotypes


def test_errors_and_ranks_are_those_of_unseen_genotypes(table):
    found, genotypes = table
    rng = np.random.default_rng(0)
    noise = 0.03 * rng.standard_normal(16)
    results = [result(g, 30 + 0.01 * i + noise[i]) for i, g in enumerate(genotypes)]
    report = check(found, results)
    assert report["genotypes"] == 12
    assert report["same_protocol"]
    val = report["sets"]["val"]
    assert val["mean_error"] == pytest.approx(np.abs(noise[4:]).mean())
    assert val["bias"] == pytest.approx(-noise[4:].mean())
    values = [30 + 0.01 * i + noise[i] for i in range(4, 16)]
    assert val["spearman"]["value"] == pytest.approx(stats.spearmanr(range(12), values)[0])
    assert val["tau"]["value"] == pytest.approx(stats.kendalltau(range(12), values)[0])
    # the interval of Fisher's z for 12 pairs is as wide, within a factor
    z, half = np.arctanh(val["spearman"]["value"]), 1.96 / np.sqrt(12 - 3)
    expected = np.tanh([z - half, z + half])
    width = val["spearman"]["high"] - val["spearman"]["low"]
    assert 0.5 < width / (expected[1] - expected[0]) < 1.6
    assert report["rows"][0]["predicted"]["Set5"] == pytest.approx(34.04)


def test_another_protocol_has_ranks_only_and_all_genotypes(table):
    found, genotypes = table
    results = [result(g, 33 + 0.1 * i, "other") for i, g in enumerate(genotypes)]
    report = check(found, results)
    assert report["genotypes"] == 16
    assert not report["same_protocol"]
    assert report["sets"]["val"].keys() == {"spearman", "tau"}
    assert report["sets"]["val"]["spearman"] == pytest.approx({"value": 1, "low": 1, "high": 1})


def test_too_few_unseen_genotypes_are_told(table):
    found, genotypes = table
    with pytest.raises(UserError, match="fewer than 4 genotypes that the table has not seen"):
        check(found, [result(g, 30.0) for g in genotypes[:7]])


def test_the_command_prints_and_writes_it(table, tmp_path):
    found, genotypes = table
    write_results(tmp_path / "r.jsonl", [result(g, 30 + 0.01 * i) for i, g in enumerate(genotypes)])
    done = srnas(
        "table", "check", "--table", found.path, "--results", tmp_path / "r.jsonl",
        "--json", tmp_path / "c.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "12 genotypes, not seen by the table" in done.stdout
    assert "val: Spearman 1.00 [1.00, 1.00]" in done.stdout
    assert "mean error 0.0000 dB" in done.stdout
    assert json.loads((tmp_path / "c.json").read_text())["genotypes"] == 12


def protocol(tmp_path, **sample):
    (tmp_path / "p.yml").write_text(yaml.safe_dump({**PROTOCOL, "sample": sample}))
    return load_protocol(tmp_path / "p.yml")


def test_skipped_genotypes_are_those_that_another_sample_has(tmp_path):
    first = protocol(tmp_path, count=6, repeated=2, seeds=2)
    rest = protocol(tmp_path, count=9, skip=6, repeated=2, seeds=2)
    assert first.identity() == rest.identity()
    trained = [str(job.genotype) for job in jobs(first, first.genotypes())]
    unseen = [str(job.genotype) for job in jobs(rest, rest.genotypes())]
    assert len(unseen) == 3
    assert not set(trained) & set(unseen)


def test_genotypes_can_be_spread_over_a_tables_ranking(table, tmp_path):
    found, genotypes = table
    spread = protocol(tmp_path, count=4, spread=str(found.path)).genotypes()
    assert [g.choices for g in spread] == [genotypes[i].choices for i in (0, 5, 10, 15)]
    assert len(protocol(tmp_path, count=99, spread=str(found.path)).genotypes()) == 16
