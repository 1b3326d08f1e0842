"""The sampled search: its model against other libraries, draws on the table, runs."""

from itertools import product

import numpy as np
import pytest

from srnas.budget import Budget, strongest
from srnas.choice import Genotype
from srnas.choice.features import Features
from srnas.engine.posterior import Posterior
from srnas.engine.sample import sample_genotypes
from srnas.engine.sampled import History, Sampler
from srnas.engine.search import search
from srnas.errors import UserError
from srnas.files import read_json, read_json_lines
from srnas.options import check_options
from srnas.report.page import write_report
from srnas.score_table import read_table
from srnas.spaces import open_choices, space_class
from tests.helpers import ROOT, assert_same_run, killed, search_options, srnas, write_options

SMALL = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}
SPACES = [
    SMALL,
    {"name": "dlsr"},
    {"name": "nasbench201", "num_cell": 1},
    {"name": "darts"},
    {"name": "plain", "widths": [8, 4], "search_widths": [4, 8], "search_convs": [1, 2],
     "search_attention": ["none", "gate"]},
]  # fmt: skip


def data(seed=0, count=20, size=7):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, size))
    return x, x @ generator.normal(size=size) + 0.3 * generator.normal(size=count) + 29.0


def test_the_posterior_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.gaussian_process", reason="needs srnas[table]")
    x, y = data()
    found = Posterior(x, y, 0.67)
    kernel = 0.67 * sklearn.kernels.DotProduct(0.0, "fixed")
    process = sklearn.GaussianProcessRegressor(kernel, alpha=1.0, optimizer=None)
    process.fit(x, y - y.mean())
    new = data(1)[0]
    mean, deviation = process.predict(new, return_std=True)
    ours, spread = found.predict(new)
    np.testing.assert_allclose(ours - y.mean(), mean, atol=1e-8)
    np.testing.assert_allclose(spread / np.sqrt(found.scale), deviation, atol=1e-8)


def test_draws_are_those_of_the_multivariate_t_distribution():
    x, y = data(count=30)
    found = Posterior(x, y, 0.67)
    generator = np.random.default_rng(0)
    draws = np.array([found.draw(generator) for _ in range(20_000)])
    np.testing.assert_allclose(draws.mean(0), found.mean, atol=0.01)
    freedom = 29
    expected = found.scale * np.linalg.inv(found.precision) * freedom / (freedom - 2)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=1e-3, rtol=0.05)


def test_the_unit_of_the_score_does_not_matter():
    x, y = data()
    one, other = Posterior(x, y, 0.67), Posterior(x, 1000 * y, 0.67)
    np.testing.assert_allclose(other.mean, 1000 * one.mean)
    np.testing.assert_allclose(other.scale, 1e6 * one.scale)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space["name"])
def test_the_prediction_of_a_network_is_the_sum_of_the_utilities(space):
    choices = open_choices(space)
    features = Features(choices)
    coefficients = np.random.default_rng(0).normal(size=features.matrix.shape[1])
    rows = features.utilities(coefficients)
    for genotype in sample_genotypes(space, 5, 0):
        picks = space_class(space["name"]).read_choices(genotype.choices)
        total = 0.0
        for choice in choices.whole:
            for label, row in choice.encode(picks[choice.place]).items():
                total += float(np.array(row) @ rows[label])
        assert features(picks) @ coefficients == pytest.approx(total)


def test_features_tell_what_candidates_have_in_common():
    features = Features(open_choices(SMALL))
    names = [name for name in features.names if "[" not in name]
    assert {"is conv_3x3", "separable True", "kernel_size 5", "dilation 2", "norm True"} <= {*names}
    coefficients = np.zeros(features.matrix.shape[1])
    coefficients[features.names.index("separable True")] = 1.0
    rows = features.utilities(coefficients)
    for label, row in rows.items():
        separable = np.array([c.separable for c in features.choices[label].candidates.values()])
        np.testing.assert_allclose(row, separable / 2)  # the root of four positions


@pytest.mark.parametrize("seed", range(3))
def test_the_best_within_a_budget_is_that_of_all_combinations(seed):
    space = {**SMALL, "candidates": ["conv_3x3", "ds_conv_3x3", "ds_conv_5x5"]}
    choices = open_choices(space)
    budget = Budget(choices, None)
    generator = np.random.default_rng(seed)
    rows = {choice.label: generator.normal(size=3) for choice in choices.whole}
    every = list(product(range(3), repeat=4))
    values = np.array(
        [[rows[label][n] for label, n in zip(rows, one, strict=True)] for one in every]
    )
    costs = np.array(
        [[budget.costs[label][n] for label, n in zip(rows, one, strict=True)] for one in every]
    )
    for share in (0.3, 0.6, 0.9):
        most = float(np.quantile(costs.sum(1), share))
        picks = strongest(choices, rows, budget, most)
        found = [choice.names.index(picks[choice.place]) for choice in choices.whole]
        assert budget.of(picks) <= most
        best = values.sum(1)[costs.sum(1) <= most].max()
        assert sum(rows[label][n] for label, n in zip(rows, found, strict=True)) == pytest.approx(
            best
        )
    with pytest.raises(UserError, match="nothing costs 1; the least is"):
        strongest(choices, rows, budget, 1.0)


def sampler(trainings=24, **sampled):
    options = {
        "name": "s", "space": {"name": "imdn", "num_feat": 16, "num_block": 3},
        "epochs": trainings, "steps_per_epoch": 1, "weight_optimizer": {"lr": 1e-3},
        "alpha_optimizer": {"lr": 1e-3}, "sampled": sampled,
    }  # fmt: skip
    return lambda seed: (lambda checked: Sampler(checked, checked.sampled))(
        check_options("search", {**options, "seed": seed}, "here")
    )


def test_on_the_shipped_table_a_few_trainings_lead_to_the_upper_percents():
    """The table's scores and the noise of a training; random networks have 50 on average."""
    table = read_table(ROOT / "datasets/imdn_x2.csv.gz")
    scores = {row.genotype: row.psnr for row in table.rows}
    ranked = np.sort(list(scores.values()))
    reached, make = [], sampler()
    for seed in range(10):
        one, history = make(seed), History()
        noise = np.random.default_rng([seed, 5])
        for number in range(24):
            (genotype,) = one.draw(history, number, number + 1)
            history.choices.append(genotype.choices)
            history.scores.append(scores[str(genotype)] + 0.03 * noise.standard_normal())
        best = one.summary(history).best
        reached.append(100 * np.searchsorted(ranked, scores[str(best)]) / len(ranked))
        drawn = {str(Genotype("imdn", row)) for row in history.choices}
        assert len(drawn) == 24, "none is trained twice"
    assert np.mean(reached) > 93
    assert min(reached) > 75


def test_rounds_do_not_depend_on_where_they_are_begun():
    one, history = sampler(at_once=3, random=4)(0), History()
    assert [one.round_of(n) for n in (0, 2, 3, 4, 6, 7)] == [
        (0, 3), (0, 3), (3, 4), (4, 7), (4, 7), (7, 10),
    ]  # fmt: skip
    generator = np.random.default_rng(0)
    for genotype in [*one.draw(history, 0, 3), *one.draw(history, 3, 4)]:
        history.choices.append(genotype.choices)
        history.scores.append(float(generator.normal()))
    drawn = one.draw(history, 4, 7)
    history.choices.append(drawn[0].choices)
    history.scores.append(1.0)
    assert one.draw(history, 4, 7) == drawn
    assert len({str(genotype) for genotype in drawn}) == 3


def options(tmp_path, photos, **changes):
    return {
        **search_options(tmp_path, photos), "space": SMALL, "epochs": 5, "steps_per_epoch": 2,
        "val_every_epochs": 0, "sampled": {"random": 2}, **changes,
    }  # fmt: skip


def begin(given):
    search(check_options("search", given, "here"), resume=True)


def test_a_killed_search_goes_on_to_the_same_bits(tmp_path, photo_folder):
    given = options(tmp_path, photo_folder, experiments=str(tmp_path / "runs"))
    begin(given)
    (tmp_path / "runs").rename(tmp_path / "whole")
    moment, deaths = 2, 0
    while killed(moment, tmp_path / "runs", begin, given):
        deaths += 1
        moment = 3 + 3 * deaths
    assert deaths >= 3
    name = given["name"]
    assert_same_run(tmp_path / "whole" / name, tmp_path / "runs" / name)


def test_processes_of_their_own_train_the_same_networks(tmp_path, photo_folder):
    given = options(tmp_path, photo_folder, sampled={"random": 2, "at_once": 2}, epochs=4)
    begin({**given, "name": "two"})
    rows = read_json_lines(tmp_path / "experiments/two/metrics.jsonl")
    checked = check_options("search", {**given, "name": "two"}, "here")
    one = Sampler(checked, checked.sampled)
    begin({**given, "name": "one", "sampled": {"random": 2}})
    alone = read_json_lines(tmp_path / "experiments/one/metrics.jsonl")
    assert [row["score"] for row in rows[:2]] == [row["score"] for row in alone[:2]]
    assert len(rows) == 4
    assert one.round_of(3) == (2, 4)


def test_a_front_holds_networks_of_falling_cost(tmp_path, photo_folder):
    most = sorted(sum(c.costs()[i] for c in open_choices(SMALL).whole) for i in (4, 0))
    given = options(tmp_path, photo_folder, sampled={"random": 3, "most": most})
    begin(given)
    folder = tmp_path / "experiments" / given["name"]
    front = read_json(folder / "front.json")["networks"]
    costs, scores = ([row[key] for row in front] for key in ("cost", "score"))
    assert costs == sorted(costs)
    assert scores == sorted(scores)
    assert costs[-1] <= most[1]
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "Front" in page
    assert f"{scores[-1]:.3f}" in page
    budget = Budget(open_choices(SMALL), None)
    picks = space_class("imdn").read_choices(Genotype.load(folder / "genotype.json").choices)
    assert budget.of(picks) <= most[1]


def test_the_method_by_its_name(tmp_path, photo_folder):
    given = options(tmp_path, photo_folder)
    del given["sampled"], given["epochs"], given["steps_per_epoch"]
    file = write_options(tmp_path / "o.yml", given)
    short = ["epochs=4", "steps_per_epoch=2", "sampled.random=2", "sampled.until=1e6"]
    done = srnas("search", "-opt", file, "method=thompson", *short)
    assert done.returncode == 0, done.stderr
    assert "stopping: the best network" in done.stdout + done.stderr
    folder = tmp_path / "experiments" / given["name"]
    assert len(read_json_lines(folder / "metrics.jsonl")) == 3
    assert (folder / "report.html").exists()
    again = srnas("search", "-opt", file, "method=thompson", *short, "--resume")
    assert again.returncode == 0, again.stderr
    assert len(read_json_lines(folder / "metrics.jsonl")) == 3, "it stays stopped"


def test_after_its_minutes_a_search_stops(tmp_path, photo_folder):
    given = options(tmp_path, photo_folder, sampled={"random": 2, "minutes": 1e-6})
    begin(given)
    folder = tmp_path / "experiments" / given["name"]
    assert len(read_json_lines(folder / "metrics.jsonl")) == 2, "the fewest that give a genotype"


def test_what_cannot_be_is_one_line(tmp_path, photo_folder):
    given = options(tmp_path, photo_folder, sampled={"most": [1.0]})
    with pytest.raises(UserError, match=r"sampled.most: nothing costs 1; the least is"):
        begin(given)
    links = options(tmp_path, photo_folder, space={"name": "dlsr"}, sampled={"most": [1e6]})
    with pytest.raises(UserError, match=r"sampled.most: costs of .* do not add up"):
        begin({**links, "name": "b"})
