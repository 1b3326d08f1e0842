"""The table that ships: whole, in agreement with its trainings, and described by its card."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import stats

from srnas.choice import Genotype
from srnas.score_table import read_table
from srnas.spaces import derived_network
from srnas.table.check import check
from srnas.table.results import read_results
from tests.helpers import ROOT, srnas

TABLE = read_table(ROOT / "datasets/imdn_x2.csv.gz")
RESULTS = read_results([ROOT / "datasets/imdn_x2_results.jsonl.gz"])
CARD = (ROOT / "datasets/imdn_x2.md").read_text()


def ranks(figures):
    """The cells of a card's row with both rank correlations and their intervals."""
    return " | ".join(
        f"{figures[key]['value']:.2f} [{figures[key]['low']:.2f}, {figures[key]['high']:.2f}]"
        for key in ("spearman", "tau")
    )


def test_it_has_all_genotypes_and_the_trainings_are_as_many_as_it_says():
    assert len({row.genotype for row in TABLE.rows}) == 12**4
    by_genotype = Counter(str(result.genotype("imdn")) for result in RESULTS)
    assert len(by_genotype) == 600
    assert Counter(by_genotype.values()) == {1: 552, 3: 48}
    assert {row.genotype: row.seeds for row in TABLE.rows if row.seeds} == by_genotype
    for label in ("c1", "c2", "c3", "c4"):
        names = Counter(Genotype("imdn", r.choices).choices[label] for r in RESULTS if not r.seed)
        assert len(names) == 12
        assert 48 <= min(names.values()) <= max(names.values()) <= 52


def test_predictions_are_an_additive_fit_to_the_trainings():
    # by numpy's least squares, with a small ridge where the table's may have another
    names = sorted({name for row in TABLE.rows for name in row.genotype.split()})
    encode = {name: i for i, name in enumerate(names)}

    def features(rows):
        x = np.zeros((len(rows), len(names) + 1))
        x[:, -1] = 1
        for i, row in enumerate(rows):
            x[i, [encode[name] for name in row.genotype.split()]] = 1
        return x

    trained = [row for row in TABLE.rows if row.measured is not None]
    x, y = features(trained), np.array([row.measured for row in trained])
    weight = np.sqrt([row.seeds for row in trained])
    fitted = np.linalg.lstsq(x * weight[:, None], y * weight, rcond=None)[0]
    expected = features(TABLE.rows) @ fitted
    predicted = np.array([row.psnr for row in TABLE.rows])
    assert np.corrcoef(expected, predicted)[0, 1] > 0.99
    assert np.abs(expected - predicted).max() < 0.03


def test_measured_figures_are_means_of_the_trainings():
    values = defaultdict(dict)
    for result in RESULTS:
        values[str(result.genotype("imdn"))][result.seed] = result.scores["val"]["psnr"]
    for row in TABLE.rows:
        if row.seeds == 1:
            assert row.measured == pytest.approx(values[row.genotype][0], abs=6e-5)
    # with three seeds, the seeds' common effects are taken out
    three = [seeds for seeds in values.values() if len(seeds) == 3]
    effect = [np.mean([seeds[s] - seeds[0] for seeds in three]) for s in range(3)]
    for row in TABLE.rows:
        if row.seeds == 3:
            mean = np.mean([values[row.genotype][s] - effect[s] for s in range(3)])
            assert row.measured == pytest.approx(mean, abs=6e-5)


def test_costs_are_those_of_the_networks():
    for row in TABLE.rows[::2500]:
        choices = dict(word.split("=") for word in row.genotype.split())
        network = derived_network(TABLE.about["space"], Genotype("imdn", choices))
        assert row.params == sum(p.numel() for p in network.parameters())


def test_times_are_sums_of_what_the_candidates_add():
    times = json.loads((ROOT / "datasets/imdn_x2_latency.json").read_text())
    base = times["base_ms"]
    for row in TABLE.rows[::97]:
        picks = dict(word.split("=") for word in row.genotype.split())
        expected = base + sum(times["ms"][label][name] - base for label, name in picks.items())
        assert row.latency == pytest.approx(expected, abs=6e-4)
    predicted, measured = zip(
        *((n["predicted"], n["measured"]) for n in times["check"]["networks"]), strict=True
    )
    assert len(predicted) == 20
    spearman = stats.spearmanr(predicted, measured).statistic
    assert spearman > 0.95
    assert f"Spearman {spearman:.2f}" in CARD


def test_a_latency_table_of_another_width_is_refused(tmp_path):
    times = json.loads((ROOT / "datasets/imdn_x2_latency.json").read_text())
    times["space"]["num_feat"] = 32
    (tmp_path / "l.json").write_text(json.dumps(times))
    done = srnas(
        "table", "fit", "-opt", "table/imdn_x2.yml", "--latency", tmp_path / "l.json",
        "--results", ROOT / "datasets/imdn_x2_results.jsonl.gz", "--out", tmp_path / "t.csv",
    )  # fmt: skip
    assert done.returncode == 2
    assert "the latency table is of space" in done.stderr
    assert not (tmp_path / "t.csv").exists()


def test_the_card_has_the_figures_of_the_genotypes_that_were_held_out():
    held_out = read_results([ROOT / "datasets/imdn_x2_unseen.jsonl.gz"])
    assert {result.number for result in held_out} == set(range(600, 620))
    report = check(TABLE, held_out)
    assert report["genotypes"] == 20
    for name, figures in report["sets"].items():
        title = {"val": "validation"}.get(name, name)
        errors = (
            f"{figures['mean_error']:.4f} | {figures['rms_error']:.4f} | {figures['bias']:+.4f}"
        )
        assert f"| {title} | {ranks(figures)} | {errors} |" in CARD


def test_the_card_has_the_rank_correlation_with_the_larger_size():
    larger = read_results([ROOT / "datasets/imdn_x2_wide.jsonl.gz"])
    report = check(TABLE, larger)
    assert report["genotypes"] == 12
    for name, figures in report["sets"].items():
        title = {"val": "validation"}.get(name, name)
        assert f"| {title} | {ranks(figures)} |\n" in CARD
    ranked = sorted(larger, key=lambda result: result.scores["val"]["psnr"])
    assert str(ranked[-1].genotype("imdn")) == TABLE.best().genotype
    best, second, worst = (f"{ranked[place].scores['val']['psnr']:.3f}" for place in (-1, -2, 0))
    text = " ".join(CARD.split())
    assert f"{best} dB with {ranked[-1].params:,} parameters, before {second} dB" in text
    assert f"from {worst} to {best} dB" in text


def test_the_card_has_the_figures_of_the_fit():
    report = TABLE.about["report"]
    for name, figures in {"validation": report["val"], **report["sets"]}.items():
        quality, ceiling = figures["quality"], figures["ceiling"]
        for title, q in ((name, quality), ("what noise alone allows", ceiling)):
            row = f"| {q['tau']:.3f} | {q['spearman']:.3f} | {q['mean_error']:.4f} | "
            assert f"| {title} {row}{q['rms_error']:.4f} |" in CARD, (name, title)
        assert f"{figures['retraining']:.3f}" in CARD
        assert f"{figures['noise']:.3f}" in CARD
    best = TABLE.best()
    names = " ".join(word.split("=")[1] for word in best.genotype.split())
    assert f"`{names}`, {best.psnr:.3f} dB" in CARD
    plain = TABLE.judge(Genotype("imdn", dict.fromkeys(("c1", "c2", "c3", "c4"), "conv_3x3")))
    assert f"{plain['psnr']:.3f} dB, better than {plain['percentile']:.1f}% of all" in CARD
