"""Trajectories of a search: figures with a closed form, and scipy's entropy."""

import math
import statistics

import pytest
import scipy.stats
import torch
from torch import nn

from srnas.analysis import convergence, parameter_free_candidates, summarize
from srnas.analysis.trajectory import top2_gap
from srnas.choice import OpChoice, Supernet
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import space_builder

P = {"a": [0.5, 0.2, 0.3], "b": [0.05, 0.9, 0.05], "c": [0.25, 0.25, 0.25, 0.25]}
ALPHAS = {"a": [1.0, -1.0, 0.5], "b": [0.0, 3.0, 0.0], "c": [2.0, 2.0, 2.0, 2.0]}
NAMES = {"a": ["none", "skip", "conv"], "b": ["none", "skip", "conv"], "c": list("wxyz")}
FREE = {"a": {"none", "skip"}, "b": {"none", "skip"}, "c": set()}


def rows(*genotypes):
    return [{"epoch": epoch, "genotype": {"c1": g}} for epoch, g in enumerate(genotypes)]


def test_the_top_two_gap_is_the_largest_minus_the_second():
    summary = summarize(P, ALPHAS, {"a": "skip", "b": "skip", "c": "w"}, FREE)
    assert summary["top2_gap_min"] == 0
    assert summary["top2_gap_mean"] == pytest.approx((0.2 + 0.85 + 0) / 3)
    assert top2_gap([1.0]) == 1
    assert top2_gap([0.4, 0.4, 0.2]) == 0


def test_none_is_left_out_of_the_gap_where_candidates_are_named_so():
    genotype = {"a": "conv", "b": "skip", "c": "w"}
    summary = summarize(P, ALPHAS, genotype, FREE, NAMES)
    assert summary["top2_gap_mean_without_none"] == pytest.approx((0.1 + 0.85 + 0) / 3)
    assert summary["top2_gap_mean"] == pytest.approx((0.2 + 0.85 + 0) / 3)
    named = {label: [f"op{i}" for i in range(len(p))] for label, p in P.items()}
    assert not any("none" in key for key in summarize(P, ALPHAS, genotype, FREE, named))


def test_the_entropy_is_scipys_and_ln_n_for_equal_probabilities():
    genotype = {"a": "conv", "b": "conv", "c": "w"}
    expected = statistics.fmean(scipy.stats.entropy(p) for p in P.values())
    assert summarize(P, ALPHAS, genotype, FREE)["entropy"] == pytest.approx(expected)
    uniform = {"a": [0.2] * 5}
    assert summarize(uniform, ALPHAS, genotype, FREE)["entropy"] == pytest.approx(math.log(5))
    assert summarize({"a": [0.0, 1.0]}, ALPHAS, genotype, FREE)["entropy"] == 0


def test_spreads_are_the_population_standard_deviations():
    summary = summarize(P, ALPHAS, {"a": "conv", "b": "conv", "c": "w"}, FREE)
    within = statistics.fmean(statistics.pstdev(a) for a in ALPHAS.values())
    assert summary["alpha_std"] == pytest.approx(within)
    assert summary["alpha_std_all"] == pytest.approx(
        statistics.pstdev([x for a in ALPHAS.values() for x in a])
    )
    assert summary["probability_std"] == pytest.approx(
        statistics.fmean(statistics.pstdev(p) for p in P.values())
    )
    assert all(type(value) is float for value in summary.values()), "JSON and checkpoints"


@pytest.mark.parametrize(
    ("genotype", "share"),
    [
        ({"a": "skip", "b": "conv", "c": "w"}, 1 / 3),
        ({"a": "skip", "b": "none", "link3": [1, 2]}, 1),
        ({"c": "w"}, 0),
    ],
)
def test_the_parameter_free_share_counts_the_genotypes_operations(genotype, share):
    summary = summarize(P, ALPHAS, genotype, FREE)
    assert summary["parameter_free_share"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("genotypes", "epoch", "converged"),
    [
        ("xyyyyyyy", 1, True),
        ("xyyyyyy", 1, False),
        ("xyxyxyxyxy", 9, False),
        ("yxyyyyyyyy", 2, True),
        ("xxxxxxx", 0, True),
        ("x", 0, False),
    ],
)
def test_the_convergence_epoch_is_the_first_after_the_last_change(genotypes, epoch, converged):
    assert convergence(rows(*genotypes)) == (epoch, converged)


def test_a_resumed_searchs_epochs_are_read_from_its_rows():
    assert convergence(rows(*"xxxyyyyyyyy")[2:]) == (3, True)


class Free:
    def build(self, in_channels, out_channels, stride=1, affine=True):
        norm = nn.BatchNorm2d(out_channels, affine=affine)
        return nn.Sequential(nn.AvgPool2d(3, 1, 1), norm)


def test_pooling_before_batchnorm_is_parameter_free_and_convolutions_are_not():
    candidates = {"avg_pool": Free(), **SR_PRIMITIVES}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert parameter_free_candidates({"c": OpChoice("c", candidates, 8, 8)}) == {"c": {"avg_pool"}}
    assert torch.equal(torch.get_rng_state(), state), "a search would go on with other numbers"


def test_a_supernets_own_values_can_be_summarized():
    net = Supernet(space_builder({"name": "dlsr", "num_feat": 8}), "dlsr", alpha_std=1.0)
    summary = summarize(
        {label: p.tolist() for label, p in net.probabilities().items()},
        {label: alpha.tolist() for label, alpha in net.alphas.items()},
        net.genotype().choices,
        parameter_free_candidates(net.choices.competing),
    )
    assert summary["parameter_free_share"] == 0
    assert 0 < summary["entropy"] < math.log(9)
