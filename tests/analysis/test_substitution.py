"""The substitution probe against a published one."""

import math

import pytest

from srnas.analysis import substitute
from srnas.choice import Genotype

OPS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
GENOTYPE = Genotype("nasbench201", {"1<-0": "nor_conv_3x3", "2<-0": "nor_conv_3x3"})


def test_sa_darts_probe_of_cifar_100_has_a_tau_of_four_fifths():
    # accuracies in descending order of alpha; one of ten pairs is in the wrong order
    alphas = [-4.0, -1.0, -2.0, 0.5, -3.0]
    by_rank = [73.5, 72.3, 70.78, 71.8, 70.02]
    ranked = ["nor_conv_3x3", "skip_connect", "nor_conv_1x1", "avg_pool_3x3", "none"]
    scores = dict(zip(ranked, by_rank, strict=True))
    asked = []

    def score(genotype):
        asked.append(genotype)
        return scores[genotype.choices["1<-0"]]

    result = substitute(GENOTYPE, "1<-0", OPS, alphas, score)
    assert result.candidates == ranked
    assert result.alphas == sorted(alphas, reverse=True)
    assert result.scores == by_rank
    assert result.tau == pytest.approx(0.8)
    assert all(g.choices["2<-0"] == "nor_conv_3x3" for g in asked)
    assert GENOTYPE.choices["1<-0"] == "nor_conv_3x3", "the genotype itself stays"


def test_tau_is_one_for_the_same_order_and_minus_one_for_the_opposite():
    alphas = [0.1, 0.5, 0.3, 0.2, 0.4]
    value = dict(zip(OPS, alphas, strict=True))
    same = substitute(GENOTYPE, "1<-0", OPS, alphas, lambda g: value[g.choices["1<-0"]])
    opposite = substitute(GENOTYPE, "1<-0", OPS, alphas, lambda g: -value[g.choices["1<-0"]])
    assert same.tau == pytest.approx(1)
    assert opposite.tau == pytest.approx(-1)
    assert math.isnan(substitute(GENOTYPE, "1<-0", OPS, alphas, lambda g: 1.0).tau)
