"""Edges that leave one feature map, fused; the oracle is each of them on its own."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from srnas.choice import RELAXATIONS, RelaxedBuilder, Supernet, run_nodes
from srnas.fast import fused_edges, without
from srnas.spaces import space_builder

DARTS = {"name": "darts", "num_feat": 4, "num_cell": 3}
NB201 = {"name": "nasbench201", "num_feat": 4, "num_cell": 1}


def supernet(options, relaxation=None, **choices):
    torch.manual_seed(0)
    build = space_builder(options)
    relaxation = RELAXATIONS.build({"name": relaxation}) if relaxation else None
    net = Supernet(
        build,
        options["name"],
        choose=RelaxedBuilder(**choices),
        relaxation=relaxation,
        alpha_std=0.5,
    ).double()
    with torch.no_grad():
        for name, parameter in net.network.named_parameters():
            if ".bn" in name or parameter.ndim == 1:
                parameter.copy_(torch.rand_like(parameter) + 0.5)  # else affine is not seen
    return net.train()


def results(net, x, seed=1):
    """Output, gradients of everything, and buffers after a pass."""
    net = copy.deepcopy(net)
    torch.manual_seed(seed)
    y = net(x)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    parameters = dict(net.named_parameters())
    gradients = torch.autograd.grad(
        (y * direction).sum(), list(parameters.values()), materialize_grads=True, allow_unused=True
    )
    return {"y": y} | dict(zip(parameters, gradients, strict=True)) | dict(net.named_buffers())


def compare(net, monkeypatch, fuses=True, tolerance=1e-9):
    x = torch.randn(4, 3, 16, 16, dtype=torch.double).to(memory_format=torch.channels_last)
    build, made = fused_edges._FusedSum, []
    monkeypatch.setattr(fused_edges, "_FusedSum", lambda *a: made.append(build(*a)) or made[-1])
    fused = results(net, x)
    ran = any(one.wide for one in made)
    assert fuses is None or ran == fuses, "the test compares a thing with itself"
    with without("fused_edges"):
        alone = results(net, x)
    assert fused.keys() == alone.keys()
    for name, expected in alone.items():
        torch.testing.assert_close(
            fused[name], expected, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )
    assert alone["y"].abs().sum() > 0
    assert fuses is None or any(
        alone[name].abs().sum() > 0 for name in alone if name.startswith("alphas")
    )


@pytest.mark.parametrize("options", [DARTS, NB201], ids=["darts", "nb201"])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"affine": True},
        {"partial_channels": 2},
        {"partial_channels": 2, "edge_normalization": True},
        {"auxiliary_skip": True},
        {"node_norm": True},
    ],
    ids=lambda c: "+".join(c) or "plain",
)
def test_output_gradients_and_statistics_are_those_of_the_edges_one_by_one(
    options, choices, monkeypatch
):
    net = supernet(options, **choices)
    net.set_progress(0.5, skip_weight=0.7)
    compare(net, monkeypatch)


@pytest.mark.parametrize("options", [DARTS, NB201], ids=["darts", "nb201"])
def test_so_they_are_without_convolutions_that_copy(options, monkeypatch):
    monkeypatch.setattr(fused_edges, "copies_by_convolution", lambda x: False)
    compare(supernet(options, affine=True), monkeypatch)


@pytest.mark.parametrize("space_set", ["s1", "s2", "s3", "s5", "three"])
def test_so_they_are_with_the_reduced_sets(space_set, monkeypatch):
    compare(supernet(DARTS | {"space_set": space_set}), monkeypatch)


def test_edges_whose_candidates_were_dropped_keep_the_others(monkeypatch):
    net = supernet(DARTS)
    for label, kept in (("normal/2<-0", [1, 4, 6]), ("normal/3<-0", [3]), ("reduce/5<-4", [0])):
        net.alive_masks.keep(label, kept)
    compare(net, monkeypatch)


@pytest.mark.parametrize("name", ["straight_through", "sigmoid", "crb", "dirichlet"])
def test_so_they_are_with_other_relaxations(name, monkeypatch):
    sampled = RELAXATIONS.build({"name": name}).single
    compare(supernet(NB201, name), monkeypatch, fuses=None if sampled else True)


class Layers:
    """A primitive of given layers."""

    linear_size, dense, parameter_free, searched_norm = 0, False, False, False

    def __init__(self, *layers):
        self.layers = layers

    def build(self, in_channels, out_channels, stride=1, affine=True):
        return nn.Sequential(*(layer(in_channels) for layer in self.layers))


@pytest.mark.parametrize("shift", [True, False])
def test_candidates_of_a_plugin_may_have_these_layers_in_any_order(shift, monkeypatch):
    norm = partial(nn.BatchNorm2d, affine=shift)
    biased = partial(nn.Conv2d, 6, kernel_size=3, padding=1)
    candidates = {
        "ends_in_relu": Layers(lambda c: nn.Conv2d(c, c, 1), norm, lambda c: nn.ReLU()),
        "norm_of_the_input": Layers(norm, lambda c: nn.ReLU(), lambda c: nn.Conv2d(c, c, 1)),
        "biased": Layers(lambda c: nn.AvgPool2d(3, 1, 1), lambda c: biased(c)),
        "circular": Layers(lambda c: nn.Conv2d(c, c, 3, padding=1, padding_mode="circular")),
        "grouped": Layers(lambda c: nn.Conv2d(c, c, 3, padding=1, groups=2), norm),
        "other": Layers(lambda c: nn.Hardswish()),
        "maps": Layers(lambda c: nn.MaxPool2d(3, 1, 1), norm, lambda c: nn.ReLU()),
    }
    torch.manual_seed(0)
    choose = RelaxedBuilder()
    nodes = nn.ModuleList(choose.edges(f"n/{i}", i, 2, candidates, 6, [1] * i) for i in (2, 3, 4))
    nodes.double().train()
    rows = {str(e): torch.rand(7).double().requires_grad_() for e in choose.choices.competing}
    choose.shared.weights = rows
    x = [torch.randn(3, 6, 8, 7, dtype=torch.double, requires_grad=True) for _ in range(2)]
    twin = copy.deepcopy(nodes, {id(choose.shared): choose.shared})  # with the same weights
    fused = torch.cat(run_nodes(nodes, x))
    with without("fused_edges"):
        alone = torch.cat(run_nodes(twin, x))
    torch.testing.assert_close(fused, alone, rtol=0, atol=1e-10)
    gradients = [
        torch.autograd.grad((y * y.detach().cos()).sum(), [*x, *rows.values(), *net.parameters()])
        for y, net in ((fused, nodes), (alone, twin))
    ]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    for found, expected in zip(nodes.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
