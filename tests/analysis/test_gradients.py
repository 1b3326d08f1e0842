"""Gradient diagnostics on a linear supernet, whose gradients have a closed form, and on IMDN."""

import copy

import pytest
import torch
from torch import nn

from srnas.analysis import (
    edge_gradient_correlations,
    operator_gradients,
    weight_gradient_correlation,
)
from srnas.choice import RELAXATIONS, RelaxedBuilder, Supernet
from srnas.choice.mixed_op import MixedOp
from srnas.primitives.nasbench201 import NB201_PRIMITIVES
from srnas.spaces import space_builder


class Times(nn.Module):
    """A candidate that multiplies by a number; its own primitive."""

    linear_size, dense, searched_norm = 0, False, False

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def build(self, in_channels, out_channels, stride=1, affine=True):
        return Times(self.factor)

    def forward(self, x):
        return self.factor * x


class Line(nn.Module):
    """o = s_a s_b W x with s = sum_i p_i k_i for each of two choices; `a` is asked twice."""

    first, second = {"twice": Times(2.0), "fivefold": Times(5.0)}, {"twice": Times(2.0)}

    def __init__(self, choose):
        super().__init__()
        self.head = nn.Conv2d(3, 3, 1, bias=False)
        self.cells = nn.ModuleList(
            choose.op(*c, 3, 3) for c in (("a", self.first), ("a", self.first), ("b", self.second))
        )

    def forward(self, x):
        x = self.head(x)
        for cell in self.cells:
            x = cell(x)
        return x


@pytest.fixture
def line():
    torch.manual_seed(0)
    net = Supernet(Line, "line").double()
    with torch.no_grad():
        net.alphas["a"].copy_(torch.tensor([0.0, 0.25]).log1p())  # p = (4, 5) / 9
    return net


S = (4 * 2 + 5 * 5) / 9  # of one mixture of `a`; that of `b` is 2


@pytest.fixture
def imdn():
    torch.manual_seed(0)
    space = {"name": "imdn", "num_feat": 8, "num_block": 2}
    return Supernet(space_builder(space), "imdn", alpha_std=1.0)


def images(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 6, 5, generator=generator, dtype=torch.double)


def test_weight_gradients_correlate_as_the_batches_of_a_linear_network_do(line):
    # L = sum(o): dL/dW_oi = 2 S^2 sum(x_i) for every o
    x, y = images(0), images(1, count=7)
    result = weight_gradient_correlation(line, lambda: line(x).sum(), lambda: line(y).sum())
    u, v = x.sum((0, 2, 3)), y.sum((0, 2, 3))
    assert result.inner == pytest.approx(3 * (2 * S**2) ** 2 * float(u @ v))
    assert result.cosine == pytest.approx(float(torch.cosine_similarity(u, v, 0)))


def test_edge_gradients_of_a_square_loss_correlate_as_its_residuals_do(line):
    # L = |o - t|^2 / 2: dL/do = o - t at the last edge, times 2 at the one before it
    x, y, t = images(0), images(1), images(2)
    losses = [lambda batch=batch: (line(batch) - t).square().sum() / 2 for batch in (x, y)]
    result = edge_gradient_correlations(line, *losses)
    u, v = (((line(batch) - t).detach()).flatten() for batch in (x, y))
    assert list(result) == ["cells.0", "cells.1", "cells.2"]
    for name, factor in (("cells.2", 1), ("cells.1", 2), ("cells.0", 2 * S)):
        assert result[name].inner == pytest.approx(factor**2 * float(u @ v))
        assert result[name].cosine == pytest.approx(float(torch.cosine_similarity(u, v, 0)))


def test_one_batch_twice_correlates_fully_and_a_flat_loss_not_at_all(line):
    x = images(0)
    for result in (
        weight_gradient_correlation(line, lambda: line(x).sum(), lambda: line(x).sum()),
        edge_gradient_correlations(line, lambda: line(x).sum(), lambda: line(x).sum())["cells.0"],
    ):
        assert result.cosine == pytest.approx(1)
        assert result.inner > 0
    assert weight_gradient_correlation(line, lambda: line(x).sum(), lambda: 0 * line(x).sum()) == (
        0, 0
    )  # fmt: skip


def test_operator_gradients_are_each_candidates_output_under_a_linear_loss(line):
    # L = sum(o) = S S 2 sum(W x): at `a` dL/dp_i = k_i S 2 sum(W x), at `b` 2 S^2 sum(W x)
    x = images(0)
    total = float(line.network.head(x).detach().sum())
    at_a = {"twice": 2 * S * 2 * total, "fivefold": 5 * S * 2 * total}
    at_b = 2 * S**2 * total
    result = operator_gradients(line, lambda: line(x).sum())
    assert result["fivefold"] == pytest.approx(at_a["fivefold"])
    assert result["twice"] == pytest.approx((2 * at_a["twice"] + at_b) / 3)
    assert operator_gradients(line, lambda: line(x).sum(), "cells.0") == pytest.approx(at_a)
    assert operator_gradients(line, lambda: line(x).sum(), "cells.2") == pytest.approx(
        {"twice": at_b}
    )


def test_operator_gradients_of_all_places_make_up_the_gradient_of_alpha(imdn):
    # dL/dalpha_c2 = J^T (sum over blocks of dL/dp), J the softmax's derivative
    imdn.eval()
    x = torch.rand(2, 3, 8, 8)
    blocks = [
        operator_gradients(imdn, lambda: imdn(x).square().sum(), f"blocks.{i}.c2") for i in (0, 1)
    ]
    names = list(imdn.choices.competing["c2"].candidates)
    assert list(blocks[0]) == names
    total = torch.tensor([blocks[0][name] + blocks[1][name] for name in names])
    p = torch.softmax(imdn.alphas["c2"].detach(), 0)
    (expected,) = torch.autograd.grad(imdn(x).square().sum(), [imdn.alphas["c2"]])
    torch.testing.assert_close(p * (total - p @ total), expected, rtol=1e-3, atol=1e-3)


def test_partial_channels_have_edges_too():
    torch.manual_seed(0)
    space = {"name": "imdn", "num_feat": 8, "num_block": 1}
    net = Supernet(space_builder(space), "imdn", choose=RelaxedBuilder(partial_channels=2))
    x = torch.rand(2, 3, 8, 8)
    result = edge_gradient_correlations(net, lambda: net(x).sum(), lambda: net(x).mean())
    assert list(result) == [f"blocks.0.c{i}.mixed" for i in (1, 2, 3, 4)]
    assert all(c.cosine == pytest.approx(1, abs=1e-5) for c in result.values())


@pytest.mark.parametrize("relaxation", ["softmax", "straight_through", "uniform_sample"])
def test_an_edge_that_nothing_is_fed_by_has_no_gradient(relaxation):
    # node 1 of NAS-Bench-201's cell feeds nodes 2 and 3; both edges are "none" alone
    torch.manual_seed(0)
    space = {"name": "nasbench201", "num_feat": 4, "num_cell": 1}
    net = Supernet(
        space_builder(space), "nasbench201", relaxation=RELAXATIONS.build({"name": relaxation})
    )
    with torch.no_grad():
        for label, name in {"2<-1": "none", "3<-1": "none", "3<-0": "nor_conv_3x3"}.items():
            net.alive_masks.keep(f"cell/{label}", [list(NB201_PRIMITIVES).index(name)])
    x = torch.rand(2, 3, 8, 8)
    result = edge_gradient_correlations(
        net, lambda: net(x).square().sum(), lambda: net(x).square().sum()
    )
    assert all(result[f"body.{cell}.nodes.0.edges.0"] == (0, 0) for cell in (0, 2, 4))
    assert result["body.4.nodes.2.edges.0"].inner != 0
    at_node_1 = operator_gradients(net, lambda: net(x).square().sum(), "body.4.nodes.0")
    assert at_node_1 == dict.fromkeys(NB201_PRIMITIVES, 0)


@pytest.mark.parametrize("fails", [False, True])
def test_looking_changes_nothing(imdn, fails):
    before = copy.deepcopy(imdn.train().state_dict())
    x = torch.rand(2, 3, 8, 8)

    def loss():
        result = imdn(x).square().mean()
        if fails:
            raise KeyError
        return result

    looks = [
        lambda: weight_gradient_correlation(imdn, loss, loss),
        lambda: edge_gradient_correlations(imdn, loss, loss),
        lambda: operator_gradients(imdn, loss),
    ]
    for look in looks:
        if fails:
            with pytest.raises(KeyError):
                look()
        else:
            look()
    for key, value in imdn.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in imdn.parameters())
    ops = [m for m in imdn.modules() if isinstance(m, MixedOp)]
    assert not any(op._forward_hooks or op._forward_pre_hooks for op in ops)
    copy.deepcopy(imdn)
