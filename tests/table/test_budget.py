"""Searches by random trainings: without noise, what they find has a closed form."""

from itertools import product

import numpy as np
import pytest
import yaml

from srnas.errors import UserError
from srnas.table.budget import budget
from srnas.table.protocol import load_protocol
from srnas.table.results import Result
from tests.helpers import srnas, write_results
from tests.table.test_build import PROTOCOL

NAMES = ("conv_3x3", "conv_5x5", "ds_conv_3x3")
GAINS = ((0.05, 0.01, 0.0), (0.16, 0.02, 0.0), (0.5, 0.03, 0.0), (0.0, 1.4, 3.1))


@pytest.fixture
def file(tmp_path):
    content = {**PROTOCOL, "sample": {"count": 81}}
    space = {**PROTOCOL["train"]["space"], "candidates": list(NAMES)}
    content["train"] = {**PROTOCOL["train"], "space": space}
    path = tmp_path / "p.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def results(protocol, noise=0.0, noise_seed=0):
    """All 81 genotypes, with additive figures; the second seeds must not count."""
    rng = np.random.default_rng(noise_seed)
    found = []
    for number, picks in enumerate(product(range(3), repeat=4)):
        choices = {f"c{i + 1}": NAMES[pick] for i, pick in enumerate(picks)}
        psnr = 30 + sum(gains[pick] for gains, pick in zip(GAINS, picks, strict=True))
        for seed, value in ((0, psnr + noise * rng.standard_normal()), (1, -psnr)):
            scores = {"val": {"psnr": value}}
            identity = protocol.identity()
            found.append(Result(identity, number, choices, seed, scores, 1, 1, 0.1, 30.0, "d"))
    return found


def test_without_noise_the_best_seen_is_the_maximum_of_a_sample_and_the_model_finds_the_best(file):
    protocol = load_protocol(file)
    rows = budget(protocol, results(protocol), counts=(3, 24, 60), draws=400)
    assert [row["trainings"] for row in rows] == [3, 24]  # 60 would leave too few to judge
    for row in rows:
        k = row["trainings"]
        expected = 100 * (k * 82 / (k + 1) - 1) / 80  # mean rank of the largest of k among 81
        assert row["best_seen"]["mean"] == pytest.approx(expected, abs=4 / np.sqrt(k))
        assert row["minutes"] == pytest.approx(k / 2)
    assert rows[1]["model"]["mean"] == pytest.approx(100)
    assert rows[0]["model"]["mean"] < 95


def test_searches_are_not_judged_by_their_own_noise(file):
    protocol = load_protocol(file)
    rows = [
        budget(protocol, results(protocol, 100.0, seed), counts=(24,), draws=15)[0]
        for seed in range(16)
    ]
    for name in ("best_seen", "model"):  # no better than chance; else nearly 100
        assert np.mean([row[name]["mean"] for row in rows]) == pytest.approx(50, abs=15)


def test_too_few_trainings_and_another_protocol_are_told(file):
    protocol = load_protocol(file)
    with pytest.raises(UserError, match="5 genotypes trained, 6 are the least"):
        budget(protocol, results(protocol)[:10])
    with pytest.raises(UserError, match="has results of protocol"):
        budget(load_protocol(file, ["version=9"]), results(protocol))


def test_command(file, tmp_path):
    write_results(tmp_path / "r.jsonl", results(load_protocol(file)))
    done = srnas("table", "budget", "-opt", file, "--results", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    assert "| 24 | 12 |" in done.stdout
