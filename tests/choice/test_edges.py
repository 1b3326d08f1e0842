"""Nodes of a cell: sums over edges, edge weights, what a genotype keeps of them."""

import pytest
import torch
from torch import nn

from srnas.choice import DerivedBuilder, Place, RelaxedBuilder, Space, Supernet
from srnas.choice.edges import ChosenEdges
from srnas.errors import UserError
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.regularizers import REGULARIZERS

TABLE = {name: NB201_PRIMITIVES[name] for name in ("none", "skip_connect", "avg_pool_3x3")}
INPUTS = [torch.full((1, 1, 4, 4), value) for value in (1.0, 10.0, 100.0)]


class Node(Space):
    """A network that is one node with three inputs."""

    def __init__(self, choose, keep=2, strides=(1, 1, 1), table=TABLE):
        super().__init__()
        self.node = choose.edges("n/3", 3, keep, table, 1, strides)

    def forward(self, inputs):
        return self.node(inputs)


def supernet(rows, edge_weights=None, keep=2):
    """A supernet of `Node` whose softmaxed alphas are `rows` and `edge_weights`."""
    choose = RelaxedBuilder(edge_normalization=edge_weights is not None)
    net = Supernet(lambda choose: Node(choose, keep), "node", choose=choose).eval()
    with torch.no_grad():
        for index, row in enumerate(rows):
            net.alphas[f"n/3<-{index}"].copy_(torch.tensor(row).log())
        if edge_weights is not None:
            net.alphas["n/3"].copy_(torch.tensor(edge_weights).log())
    return net


def derived(choice, keep=2):
    return Node(DerivedBuilder({Place.of("n/3"): choice}, "node"), keep)


SKIPS = [[0.5, 0.5, 0.0], [0.75, 0.25, 0.0], [0.2, 0.8, 0.0]]  # none, skip, pool


def test_a_node_is_the_sum_of_its_mixed_edges():
    torch.testing.assert_close(supernet(SKIPS)(INPUTS), torch.full((1, 1, 4, 4), 0.5 + 2.5 + 80))


def test_edge_normalization_multiplies_each_edge_by_its_softmaxed_weight():
    net = supernet(SKIPS, [0.2, 0.3, 0.5])
    expected = 0.2 * 0.5 * 1 + 0.3 * 0.25 * 10 + 0.5 * 0.8 * 100
    torch.testing.assert_close(net(INPUTS), torch.full((1, 1, 4, 4), expected))


def test_a_normed_node_has_mean_0_and_variance_1_while_searching_and_no_norm_derived():
    torch.manual_seed(0)
    net = Supernet(Node, "node", choose=RelaxedBuilder(node_norm=True)).train()
    y = net([torch.randn(8, 1, 16, 16) for _ in range(3)])
    assert y.mean().item() == pytest.approx(0, abs=1e-5)
    assert y.var(correction=0).item() == pytest.approx(1, abs=1e-3)
    assert not list(net.network.parameters()), "no scale and shift"
    kept = derived([["skip_connect", 0], ["skip_connect", 2]])
    assert not any(isinstance(module, nn.BatchNorm2d) for module in kept.modules())


def test_a_node_that_keeps_all_edges_has_no_edge_weights():
    assert "n/3" in supernet(SKIPS, [0.2, 0.3, 0.5]).alphas
    net = Supernet(
        lambda choose: Node(choose, None), "node", choose=RelaxedBuilder(edge_normalization=True)
    )
    assert list(net.alphas) == ["n/3<-0", "n/3<-1", "n/3<-2"]


def test_edge_weights_are_not_regularized_and_not_in_the_alpha_matrices():
    net = supernet(SKIPS, [0.2, 0.3, 0.5])
    (matrix,) = net.alpha_matrices()
    assert matrix.shape == (3, 3)
    for term in ("smooth_activation", "beta_decay"):
        value = REGULARIZERS.build({"name": term})(net)
        assert torch.autograd.grad(value, net.alphas["n/3"], allow_unused=True) == (None,)


@pytest.mark.parametrize(
    ("rows", "edge_weights", "expected"),
    [
        # "none" wins every edge and is never chosen; the strongest of the others come first
        (
            [[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.5, 0.24, 0.26]],
            None,
            [["avg_pool_3x3", 1], ["avg_pool_3x3", 2]],
        ),
        # of equal ones, the lower index: candidate and edge
        ([[0.4, 0.3, 0.3]] * 3, None, [["skip_connect", 0], ["skip_connect", 1]]),
        # edge weights rank edges, and leave their operations alone
        (
            [[0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.2, 0.1, 0.7]],
            [0.1, 0.6, 0.3],
            [["avg_pool_3x3", 1], ["avg_pool_3x3", 2]],
        ),
    ],
)
def test_the_genotype_keeps_the_two_edges_with_the_best_operation(rows, edge_weights, expected):
    assert supernet(rows, edge_weights).genotype().choices == {"n/3": expected}


def test_a_threshold_drops_weak_edges_but_not_the_strongest():
    net = supernet([[0.1, 0.88, 0.02], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]])
    both = [["avg_pool_3x3", 2], ["skip_connect", 0]]
    assert net.genotype(threshold=0.85).choices["n/3"] == both
    assert net.genotype(threshold=0.89).choices["n/3"] == both[:1]
    assert net.genotype(threshold=0.99).choices["n/3"] == both[:1]


def test_a_node_that_keeps_all_edges_may_choose_none():
    net = supernet([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.4, 0.4, 0.2]], keep=None)
    chosen = [["none", 0], ["skip_connect", 1], ["none", 2]]
    assert net.genotype().choices == {"n/3": chosen}
    torch.testing.assert_close(derived(chosen, None)(INPUTS), INPUTS[1])


def test_a_derived_node_sums_the_chosen_inputs():
    node = derived([["skip_connect", 2], ["skip_connect", 0]])
    torch.testing.assert_close(node(INPUTS), torch.full((1, 1, 4, 4), 101.0))


def test_each_edge_may_have_candidates_of_its_own():
    tables = [{name: TABLE[name]} for name in TABLE]
    net = Supernet(lambda choose: Node(choose, None, table=tables), "node")
    chosen = [[name, index] for index, name in enumerate(TABLE)]
    assert net.genotype().choices == {"n/3": chosen}
    torch.testing.assert_close(net(INPUTS), torch.full((1, 1, 4, 4), 110.0))


@pytest.mark.parametrize(
    "choice",
    [
        [], "skip_connect", ["skip_connect", 0], [["skip_connect", 3]], [["skip_connect", -1]],
        [["skip_connect", 0.0]], [["skip_connect"]], [["skip_connect", 0], ["avg_pool_3x3", 0]],
        [["skip_connect", 0], ["skip_connect", 1], ["skip_connect", 2]],
    ],
)  # fmt: skip
def test_impossible_edges_are_told(choice):
    with pytest.raises(UserError, match=r"choices\.n/3: .* is not 1 to 2 .* from 0 to 2"):
        derived(choice)


def test_missing_edges_and_unknown_candidates_are_told():
    with pytest.raises(UserError, match="for each input from 0 to 2, in order"):
        derived([["skip_connect", 0], ["skip_connect", 1]], None)
    with pytest.raises(UserError, match=r"n/3: .*'skip_conect'; did you mean 'skip_connect'"):
        derived([["skip_conect", 0]])


def test_drop_path_keeps_the_mean_drops_whole_samples_and_spares_identities():
    torch.manual_seed(0)
    x = torch.ones(20_000, 2, 1, 1)
    edges = ChosenEdges([nn.ReLU()], [0])
    edges.drop_path_prob = 0.3
    dropped = edges([x])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.unique().tolist() == [0, pytest.approx(1 / 0.7)]
    # four standard deviations of the mean of 20,000 draws
    assert dropped.mean().item() == pytest.approx(1, abs=4 * (0.3 / 0.7 / 20_000) ** 0.5)
    assert torch.equal(edges.eval()([x]), x)
    kept = ChosenEdges([nn.Identity()], [0])
    kept.drop_path_prob = 0.3
    assert torch.equal(kept([x]), x)
