"""The supernet: one network definition, its alphas, what it derives."""

import copy

import pytest
import torch
from torch.func import functional_call

from srnas.choice import Genotype, RelaxedBuilder, Supernet
from srnas.errors import UserError
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import derived_network, published_genotype, space_builder
from tests.helpers import derive

SMALL = {"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 2}
LABELS = ("c1", "c2", "c3", "c4")


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    return Supernet(space_builder(SMALL), "imdn", alpha_std=1.0)


def warm_batchnorm(supernet):
    """Running statistics that are not those of initialization."""
    supernet.train()
    with torch.no_grad():
        for _ in range(3):
            supernet(torch.rand(4, 3, 12, 12))
    return supernet.eval()


@pytest.mark.parametrize("affine", [False, True])
def test_one_hot_alphas_give_the_derived_network_for_every_candidate_at_every_position(affine):
    torch.manual_seed(0)
    supernet = warm_batchnorm(
        Supernet(space_builder(SMALL), "imdn", choose=RelaxedBuilder(affine=affine), alpha_std=1.0)
    )
    x = torch.rand(1, 3, 14, 11)
    for label in LABELS:
        for index, name in enumerate(SR_PRIMITIVES):
            choices = dict.fromkeys(LABELS, "ds_conv_3x3_bn") | {label: name}
            with torch.no_grad():
                for other, choice in choices.items():
                    # a softmax of 200 against 0 is one-hot in float32
                    supernet.alphas[other].zero_()
                    supernet.alphas[other][list(SR_PRIMITIVES).index(choice)] = 200.0
                assert supernet.probabilities()[label][index] == 1
                relaxed = supernet(x)
                derived = derive(supernet, SMALL, Genotype("imdn", choices))
                difference = (relaxed - derived(x)).abs().max()
            assert supernet.genotype().choices == choices
            assert difference < 1e-5, (label, name, difference)


def test_the_two_kinds_of_parameters_are_disjoint_and_complete(supernet):
    weights = {id(p) for p in supernet.weight_parameters()}
    alphas = {id(p) for p in supernet.arch_parameters()}
    assert not weights & alphas
    assert weights | alphas == {id(p) for p in supernet.parameters()}
    assert len(alphas) == 4


def test_alphas_are_in_the_state_dict(supernet):
    assert {k for k in supernet.state_dict() if k.startswith("alphas.")} == {
        f"alphas.{label}" for label in LABELS
    }


def test_a_deep_copy_has_alphas_of_its_own(supernet):
    x = torch.rand(1, 3, 12, 12)
    supernet.eval()
    before = supernet(x)
    twin = copy.deepcopy(supernet)
    with torch.no_grad():
        for alpha in twin.arch_parameters():
            alpha.add_(torch.randn_like(alpha))
    assert not torch.allclose(twin(x), before)
    assert torch.equal(supernet(x), before)


def test_functional_call_takes_other_alphas(supernet):
    x = torch.rand(1, 3, 12, 12)
    supernet.eval()
    other = {f"alphas.{label}": torch.randn(12) for label in LABELS}
    result = functional_call(supernet, other, (x,))
    with torch.no_grad():
        for label in LABELS:
            supernet.alphas[label].copy_(other[f"alphas.{label}"])
    torch.testing.assert_close(result, supernet(x))


def test_the_genotype_is_the_argmax_and_the_first_of_equals(supernet):
    with torch.no_grad():
        for alpha in supernet.arch_parameters():
            alpha.zero_()
        supernet.alphas["c3"][7] = 0.1
    names = list(SR_PRIMITIVES)
    assert supernet.genotype().choices == {
        "c1": names[0], "c2": names[0], "c3": names[7], "c4": names[0]
    }  # fmt: skip


def test_the_unfair_start_of_nb201_gives_the_published_probabilities():
    # alpha [0, 0.1, 0, 0, 0] -> p = 0.1959 and 0.2165
    space = {"name": "nasbench201", "num_feat": 2, "num_cell": 1}
    supernet = Supernet(
        space_builder(space), "nasbench201", alpha_std=0, alpha_init=[0, 0.1, 0, 0, 0]
    )
    for p in supernet.probabilities().values():
        assert p.tolist() == pytest.approx([0.1959, 0.2165, 0.1959, 0.1959, 0.1959], abs=5e-5)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"c1": "conv_3x3"}, r"choices\.c2 is missing"),
        (dict.fromkeys(LABELS, "conv_3x2"), r"choices\.c1: .*'conv_3x2'; did you mean 'conv_3x3'"),
        (dict.fromkeys((*LABELS, "c5"), "conv_3x3"), r"choices\.c5: .*no such position"),
    ],
)
def test_a_genotype_that_does_not_fit_is_told(choices, told):
    with pytest.raises(UserError, match=told):
        derived_network(SMALL, Genotype("imdn", choices))


def test_a_genotype_of_another_space_is_told():
    with pytest.raises(UserError, match="made for space 'dlsr'"):
        derived_network(SMALL, Genotype("dlsr", {}))


def test_a_genotype_file_reads_back(tmp_path):
    genotype = published_genotype("imdn")
    genotype.save(tmp_path / "g.json")
    assert Genotype.load(tmp_path / "g.json") == genotype
    for content, told in [
        ('{"a": 1}', "not a genotype"),
        ('{"format": "srnas-genotype", "version": 9}', "version 9"),
        ('{"format": "srnas-genotype", "version": 1, "space": "imdn"}', "needs"),
    ]:
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(UserError, match=told):
            Genotype.load(tmp_path / "bad.json")
