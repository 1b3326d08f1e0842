"""NAS-Bench-201: its strings, its sizes, and what is derived."""

import itertools
import random

import pytest
import torch

from srnas.choice import Genotype, RelaxedBuilder, Supernet
from srnas.cost import count_parameters
from srnas.errors import UserError
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces import derived_network, published_genotype, space_builder
from srnas.spaces.nasbench201 import NASBench201, read_arch, write_arch
from tests.helpers import derive

SMALL = {"name": "nasbench201", "num_feat": 4, "num_cell": 1}
OPS = list(NB201_PRIMITIVES)


def arch(ops):
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def test_the_candidates_are_in_the_order_of_the_benchmark():
    assert OPS == ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def test_all_15625_strings_read_back():
    strings = [arch(ops) for ops in itertools.product(OPS, repeat=6)]
    assert len(set(strings)) == 15_625
    assert [write_arch(read_arch(text)) for text in strings] == strings
    for text in strings[::1000]:
        flat = NASBench201.read_choices({"cell": text})
        assert NASBench201.write_choices(flat) == {"cell": text}


def test_parameters_are_the_closed_form_of_the_benchmark():
    draw = random.Random(0)
    with torch.device("meta"):
        for _ in range(30):
            ops = draw.choices(OPS, k=6)
            expected = 73_306
            expected += 243_040 * ops.count("nor_conv_3x3") + 28_000 * ops.count("nor_conv_1x1")
            genotype = Genotype("nasbench201", {"cell": arch(ops)})
            assert count_parameters(derived_network({"name": "nasbench201"}, genotype)) == expected


def test_the_published_cell_is_the_one_that_sa_finds():
    with torch.device("meta"):
        network = derived_network({"name": "nasbench201"}, published_genotype("nasbench201"))
    assert count_parameters(network) == 1_288_506


def test_the_alpha_rows_are_in_the_order_of_the_benchmark():
    supernet = Supernet(space_builder(SMALL), "nasbench201")
    edges = ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]
    assert list(supernet.alphas) == [f"cell/{edge}" for edge in edges]
    (matrix,) = supernet.alpha_matrices()
    assert matrix.shape == (6, 5)
    with torch.no_grad():
        for index, alpha in enumerate(supernet.alphas.values()):
            alpha[index % 5] = 1.0
    cell = arch(OPS[index % 5] for index in range(6))
    assert supernet.genotype().choices == {"cell": cell}
    assert str(supernet.genotype()) == f"cell={cell}"


@pytest.mark.parametrize("shift", range(5))
@pytest.mark.parametrize("affine", [False, True])
def test_one_hot_alphas_give_the_derived_network_for_every_candidate_at_every_edge(shift, affine):
    torch.manual_seed(shift)
    supernet = Supernet(
        space_builder(SMALL), "nasbench201", choose=RelaxedBuilder(affine=affine), alpha_std=1.0
    )
    ops = [OPS[(edge + shift) % 5] for edge in range(6)]
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            supernet(torch.rand(8, 3, 8, 8))  # running statistics unlike the initial ones
        for alpha, op in zip(supernet.arch_parameters(), ops, strict=True):
            # a softmax of 200 against 0 is one-hot in float32
            alpha.zero_()
            alpha[OPS.index(op)] = 200.0
        derived = derive(supernet.eval(), SMALL)
        assert supernet.genotype().choices == {"cell": arch(ops)}
        torch.testing.assert_close(derived(x), supernet(x), rtol=0, atol=1e-5)


def test_partial_channels_search_it_too():
    supernet = Supernet(
        space_builder(SMALL), "nasbench201", choose=RelaxedBuilder(partial_channels=4)
    )
    supernet(torch.rand(2, 3, 8, 8)).sum().backward()
    assert all(alpha.grad.any() for alpha in supernet.arch_parameters())


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (None, r"choices\.cell is missing"),
        ("|skip_connect~0|", "write it as"),
        (arch(["skip_connect"] * 6) + "+|none~0|", "write it as"),
        (arch(["skip_connect"] * 6).replace("~2", "~1"), "write it as"),
        (arch(["skip_connect"] * 6).replace("|+|", "| + |"), "write it as"),
        (arch(["nor_conv_5x5"] * 6), "'nor_conv_5x5'; did you mean 'nor_conv_"),
    ],
)
def test_a_cell_that_is_none_is_told(cell, told):
    with pytest.raises(UserError, match=told):
        derived_network(SMALL, Genotype("nasbench201", {"cell": cell}))


def test_another_position_is_told():
    choices = {**published_genotype("nasbench201").choices, "c1": "conv_3x3"}
    with pytest.raises(UserError, match=r"choices\.c1: .*no such position"):
        derived_network(SMALL, Genotype("nasbench201", choices))
