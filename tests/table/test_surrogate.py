"""Surrogates against truths that are known: additive, pairwise, and simulated noise."""

import dataclasses
import math
from functools import cache

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn.linear_model import Ridge

from srnas.choice import Genotype
from srnas.engine.sample import all_genotypes, sample_genotypes
from srnas.errors import UserError
from srnas.score_table import read_table
from srnas.spaces import check_space, derived_network
from srnas.table.build import Workbench
from srnas.table.fit import costs, fit
from srnas.table.protocol import Job, count_costs, load_protocol
from srnas.table.results import Result
from srnas.table.surrogate import (
    Encoder,
    Quality,
    ceiling,
    cross_validate,
    leave_one_out,
    measured,
    models,
)
from srnas.tasks import task_of_space
from tests.table.test_build import PROTOCOL

FOUR = {"name": "imdn", "candidates": ["conv_3x3", "conv_5x5", "ds_conv_3x3", "ds_conv_5x5"]}


@pytest.fixture
def encoder():
    return Encoder(FOUR)


def additive(x):
    return 30 + x @ np.linspace(-0.2, 0.2, x.shape[1])


def pairwise(x):
    """An effect of equal candidates at c1 and c2."""
    return additive(x) + 0.3 * (x[:, :4] * x[:, 4:8]).sum(1)


def test_genotypes_are_encoded_as_one_of_each_position(encoder):
    x = encoder(sample_genotypes(FOUR, 40, 0))
    assert x.shape == (40, 16)
    assert (x.reshape(40, 4, 4).sum(2) == 1).all()
    assert encoder.pairs(x).shape == (40, 16 + 6 * 16)
    assert (encoder.pairs(x).sum(1) == 4 + 6).all()


def test_links_are_encoded_by_their_inputs():
    encoder = Encoder("dlsr")
    (genotype,) = sample_genotypes("dlsr", 1, 3)
    row = encoder([genotype])[0]
    assert len(row) == 3 * 9 + 2 + 3 + 4 + 5
    assert row.sum() == 3 + 4 * 2


@pytest.mark.parametrize(
    ("name", "truth", "error"),
    [
        ("additive", additive, 1e-3),
        ("pairwise", pairwise, 0.05),
        ("gaussian_process", pairwise, 0.03),
    ],
)
def test_a_model_finds_a_truth_of_its_kind(encoder, name, truth, error):
    everything = list(all_genotypes(FOUR))
    x = encoder(everything)
    seen = np.random.default_rng(0).permutation(256)[:160]
    rest = np.setdiff1d(np.arange(256), seen)
    model = models(encoder)[name].fit(x[seen], truth(x[seen]), np.ones(160))
    assert np.abs(model.predict(x[rest]) - truth(x[rest])).max() < error


def test_the_additive_model_misses_what_is_not_additive(encoder):
    x = encoder(list(all_genotypes(FOUR)))
    missed = cross_validate(models(encoder)["additive"], x, pairwise(x), np.ones(256))
    found = cross_validate(models(encoder)["gaussian_process"], x, pairwise(x), np.ones(256))
    errors = [Quality.of(p, pairwise(x)).rms_error for p in (missed, found)]
    assert errors[0] > 0.1 > 4 * errors[1]


def test_quality_is_scipys():
    rng = np.random.default_rng(1)
    a, b = rng.random(30), rng.random(30)
    quality = Quality.of(a, b)
    assert quality.tau == pytest.approx(stats.kendalltau(a, b)[0])
    assert quality.spearman == pytest.approx(stats.spearmanr(a, b)[0])
    assert quality.rms_error == pytest.approx(math.sqrt(np.mean((a - b) ** 2)))


def test_a_perfect_prediction_errs_by_the_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(30, 0.08, 500)
    quality = ceiling(true + rng.normal(0, 0.03, 500), np.ones(500), 0.03)
    assert quality.rms_error == pytest.approx(0.03, rel=0.02)
    assert quality.mean_error == pytest.approx(0.03 * math.sqrt(2 / math.pi), rel=0.02)
    # of two normal variables with this correlation: tau = 2/pi arcsin(rho)
    rho = 0.08 / math.hypot(0.08, 0.03)
    assert quality.tau == pytest.approx(2 / math.pi * math.asin(rho), abs=0.02)


@cache
def counted(choices):
    """Parameters and MACs of a network of `FOUR`."""
    network = derived_network(check_space(FOUR), Genotype("imdn", dict(choices), {}))
    return count_costs(task_of_space("imdn"), network)


def summed(choices):
    """Parameters and MACs of a network of `FOUR`, from those that differ in one position."""
    base = dict.fromkeys(choices, FOUR["candidates"][0])
    first = counted(tuple(base.items()))
    ones = [counted(tuple({**base, label: name}.items())) for label, name in choices.items()]
    return tuple(
        one + sum(o - one for o in others) for one, *others in zip(first, *ones, strict=True)
    )


def simulated(genotypes, seeds=1, noise=0.0, effects=(0.0, 0.05, -0.02), seed=0):
    """Results with an additive truth, an effect of each seed, and noise."""
    rng = np.random.default_rng(seed)
    y = additive(Encoder(FOUR)(genotypes))
    for number, genotype in enumerate(genotypes):
        params, macs = summed(genotype.choices)
        for s in range(seeds if number < 60 else 1):
            psnr = y[number] + effects[s] + rng.normal(0, noise)
            scores = {"val": {"psnr": psnr, "ssim": 0.9}, "Set5": {"psnr": psnr + 3, "ssim": 0.9}}
            yield Result("p", number, genotype.choices, s, scores, params, macs, 0.03, 1.0, "d")


def test_noise_is_what_the_effects_of_seeds_leave():
    genotypes = sample_genotypes(FOUR, 90, 0)
    found = measured(list(simulated(genotypes, 3, noise=0.03)), "imdn", "val", "psnr")
    assert found.noise == pytest.approx(0.03, rel=0.15)
    assert found.retraining == pytest.approx(
        math.hypot(0.03, np.std([0, 0.05, -0.02], ddof=1)), rel=0.15
    )
    assert found.effects[1] - found.effects[2] == pytest.approx(0.07, abs=0.02)
    exact = measured(list(simulated(genotypes, 3)), "imdn", "val", "psnr")
    assert exact.noise == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(exact.values, additive(Encoder(FOUR)(genotypes)))
    assert exact.counts.tolist() == [3] * 60 + [1] * 30


@pytest.mark.parametrize("rows", [3, 8, 30])
def test_errors_without_one_row_are_those_of_regressions_without_it(rows):
    rng = np.random.default_rng(rows)
    x = np.eye(4)[rng.integers(4, size=(rows, 3))].reshape(rows, 12)
    y, weight, alphas = rng.normal(size=rows), rng.uniform(1, 3, rows), np.array([0.01, 1.0, 50.0])
    expected = []
    for alpha in alphas:
        errors = []
        for out in range(rows):
            kept = np.arange(rows) != out
            model = Ridge(alpha).fit(x[kept], y[kept], sample_weight=weight[kept])
            errors.append(weight[out] * (y[out] - model.predict(x[out : out + 1])[0]) ** 2)
        expected.append(np.mean(errors))
    np.testing.assert_allclose(leave_one_out(x, y, weight, alphas), expected, rtol=1e-9)


def test_costs_add_up_over_positions():
    space = check_space({**FOUR, "num_feat": 8, "num_block": 1})
    genotypes = list(all_genotypes(space))
    params, macs = costs(space, genotypes)
    task = task_of_space("imdn")
    for index in (0, 17, 100, 255):
        network = derived_network(space, genotypes[index])
        assert (params[index], macs[index]) == count_costs(task, network)


@pytest.fixture
def protocol(tmp_path, monkeypatch):
    file = tmp_path / "p.yml"
    file.write_text(
        "name: four\nversion: 1\nsample: {count: 90}\ntrain: {steps: 1, optimizer: {lr: 1}, data: "
        "{train: {packaged: train}}, space: {name: imdn, candidates: "
        f"[{', '.join(FOUR['candidates'])}]}}}}\n"
    )
    protocol = load_protocol(file)
    monkeypatch.setattr(type(protocol), "identity", lambda self: "p")
    return protocol


def test_a_fitted_table_has_all_genotypes_and_tells_how_good_it_is(protocol, tmp_path):
    results = list(simulated(sample_genotypes(FOUR, 90, 0), 3, noise=0.01))
    report = fit(protocol, results, tmp_path / "t.csv.gz")
    assert (report["genotypes"], report["trainings"]) == (90, 210)
    assert report["val"]["quality"]["rms_error"] < 0.02
    assert report["val"]["noise"] == pytest.approx(0.01, rel=0.2)
    table = read_table(tmp_path / "t.csv.gz")
    assert len(table.rows) == 256
    assert sum(row.measured is not None for row in table.rows) == 90
    everything = list(all_genotypes(FOUR))
    predicted = np.array([table.find(genotype).psnr for genotype in everything])
    truth = additive(Encoder(FOUR)(everything))
    assert np.abs(predicted - truth).max() < 0.03
    assert table.about["report"]["model"] == report["model"]
    content = (tmp_path / "t.csv.gz").read_bytes()
    fit(protocol, results, tmp_path / "t.csv.gz")
    assert (tmp_path / "t.csv.gz").read_bytes() == content


@pytest.mark.slow
def test_a_space_with_links_is_tabled_by_a_sample(tmp_path, monkeypatch):
    # DLSR has 9^3 * 3 * 6 * 10 * ... genotypes; its links are choices as well
    small = {"name": "dlsr", "num_feat": 8, "num_cell": 5}
    content = {
        **PROTOCOL,
        "train": {**PROTOCOL["train"], "space": small, "steps": 2},
        "sample": {"count": 30},
    }
    (tmp_path / "p.yml").write_text(yaml.safe_dump(content))
    protocol = load_protocol(tmp_path / "p.yml")
    genotypes = protocol.genotypes()
    trained = Workbench(protocol).run(Job(0, genotypes[0], 0))
    assert trained.genotype("dlsr") == genotypes[0]
    x = Encoder(small)(genotypes)
    truth = 30 + 0.1 * x[:, :9] @ np.arange(9)  # by the first convolution
    counts = zip(*costs(protocol.training(0).space, genotypes), strict=True)
    results = [
        dataclasses.replace(
            trained,
            number=number,
            choices=genotype.choices,
            scores={"val": {"psnr": float(truth[number]), "ssim": 0.9}},
            params=params,
            macs=macs,
        )
        for number, (genotype, (params, macs)) in enumerate(zip(genotypes, counts, strict=True))
    ]
    monkeypatch.setattr("srnas.table.fit.ENUMERABLE", 200)
    monkeypatch.setattr(
        "srnas.table.fit.models", lambda encoder: {"additive": models(encoder)["additive"]}
    )
    report = fit(protocol, results, tmp_path / "t.csv")
    assert report["val"]["quality"]["spearman"] > 0.8
    table = read_table(tmp_path / "t.csv")
    assert len(table.rows) == 40, "the trained ones among them"
    row = table.find(genotypes[3])
    assert row.measured == pytest.approx(truth[3], abs=1e-4)


def test_what_cannot_be_fitted_is_told(protocol, tmp_path):
    results = list(simulated(sample_genotypes(FOUR, 90, 0)))
    with pytest.raises(UserError, match="a surrogate needs 30"):
        fit(protocol, results[:20], tmp_path / "t.csv")
    other = [dataclasses.replace(result, protocol="q") for result in results]
    with pytest.raises(UserError, match="results of protocol q"):
        fit(protocol, other, tmp_path / "t.csv")
    wrong = [dataclasses.replace(result, params=1) for result in results]
    with pytest.raises(UserError, match="another space or version"):
        fit(protocol, wrong, tmp_path / "t.csv")
    mixed = [*results[:40], *(dataclasses.replace(r, data="e") for r in results[40:])]
    with pytest.raises(UserError, match="different training images"):
        fit(protocol, mixed, tmp_path / "t.csv")
