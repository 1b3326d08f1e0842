"""Whatever is switched on, every space computes the same; the oracle is the plain formula."""

import copy
import runpy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from srnas.choice import RELAXATIONS, RelaxedBuilder, Supernet
from srnas.data.draws import to_device
from srnas.distributed import move
from srnas.errors import UserError
from srnas.fast import (
    TECHNIQUES,
    depthwise,
    folding,
    fused_edges,
    memory_format,
    merging,
    plain,
    without,
)
from srnas.spaces import SPACES, derived_network, space_builder
from tests.helpers import ROOT

CPU = torch.device("cpu")
SMALL = {
    "imdn": {"num_feat": 8, "num_block": 1},
    "dlsr": {"num_feat": 8, "num_cell": 3},
    "dncnn": {"num_feat": 8, "num_block": 1},
    "plain": {
        "widths": [8, 4],
        "search_widths": [4, 8],
        "search_convs": [1, 2],
        "search_attention": ["none", "lia", "gate"],
        "reparameterize": "ecb",
    },
    "darts": {"num_feat": 4, "num_cell": 3},
    "nasbench201": {"num_feat": 4, "num_cell": 1},
}
EVERY = [*dict.fromkeys([*SPACES, "slim"])]
CHOICES = [
    {},
    {"affine": True, "auxiliary_skip": True},
    {"partial_channels": 2, "edge_normalization": True},
    {"partial_channels": 2, "auxiliary_skip": True, "node_norm": True},
]
WORK = {  # what a technique calls, and a space that has use for it
    "merging": (merging, "_weighted_kernel", "imdn"),
    "folding": (folding, "_folded", "nasbench201"),
    "fused_edges": (fused_edges, "_FusedSum", "darts"),
    "depthwise": (depthwise, "kernel_gradient", "dlsr"),
    "memory_format": (memory_format, "_in_usual_memory", "nasbench201"),
}


@pytest.fixture(autouse=True)
def switches(monkeypatch):
    """All on, and depthwise gradients from folded rows, as those of large maps."""
    monkeypatch.delenv("SRNAS_PLAIN", raising=False)
    monkeypatch.setattr(depthwise, "SMALL", 0)


@pytest.fixture
def slim():
    """A space of a plugin, registered for a while."""
    if "slim" in SPACES:  # another test has imported the file
        yield
        return
    runpy.run_path(str(ROOT / "tests/plugins/slim.py"))
    yield
    del SPACES._builders["slim"]


def supernet(space, relaxation="softmax", **choices):
    torch.manual_seed(0)
    net = Supernet(
        space_builder({"name": space, **SMALL.get(space, {})}),
        space,
        choose=RelaxedBuilder(**choices),
        relaxation=RELAXATIONS.build({"name": relaxation}),
        alpha_std=0.3,
    ).double()
    net.set_progress(0.5, skip_weight=0.7)
    return varied(net)


def varied(net):
    """Scales, shifts and running statistics that are not 0 and 1, which would hide a fault."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    if tensor is not None:
                        tensor.copy_(torch.rand_like(tensor) + 0.5)
    return net


def results(net, training):
    """Output, gradients of weights and alphas, and buffers after a pass."""
    net = move(copy.deepcopy(net), CPU).train(training)
    torch.manual_seed(1)
    x = to_device(torch.rand(4, 3, 16, 16, dtype=torch.double), CPU)
    torch.manual_seed(2)
    y = net(x)
    parameters = dict(net.named_parameters())
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    gradients = torch.autograd.grad(
        (y * direction).sum(), list(parameters.values()), materialize_grads=True, allow_unused=True
    )
    return {"y": y} | dict(zip(parameters, gradients, strict=True)) | dict(net.named_buffers())


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = max(1.0, tensor.double().abs().max().item())
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-9, atol=1e-9 * scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def assert_fast_is_plain(net, ways):
    for training in (True, False):
        with plain():
            expected = results(net, training)
        assert expected["y"].abs().sum() > 0
        for way in ways:
            with way():
                assert_same(results(net, training), expected)


def alone(technique):
    return without(*(name for name in TECHNIQUES if name != technique))


@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: "+".join(c) or "as it is")
@pytest.mark.parametrize("space", EVERY)
def test_fast_equals_plain_for_every_space(space, choices, slim):
    try:
        net = supernet(space, **choices)
    except UserError:  # partial channels divide no width
        assert "partial_channels" in choices
        pytest.skip("K does not divide its channels")
    assert_fast_is_plain(net, [nullcontext])


@pytest.mark.parametrize("space", EVERY)
def test_each_technique_alone_equals_plain(space, slim):
    ways = [lambda t=technique: alone(t) for technique in TECHNIQUES]
    assert_fast_is_plain(supernet(space), ways)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("space", ["imdn", "nasbench201"])
def test_fast_equals_plain_for_every_relaxation(space, relaxation):
    assert_fast_is_plain(supernet(space, relaxation), [nullcontext])


@pytest.mark.parametrize("space", EVERY)
def test_fast_equals_plain_where_candidates_were_dropped(space, slim):
    net = supernet(space)
    for number, (label, alive) in enumerate(net.alive.items()):
        net.alive_masks.keep(label, alive[number % 2 :: 2])
    assert_fast_is_plain(net, [nullcontext])


@pytest.mark.parametrize("space", EVERY)
def test_fast_equals_plain_in_the_derived_network(space, slim):
    options = {"name": space, **SMALL.get(space, {})}
    torch.manual_seed(3)
    net = derived_network(options, supernet(space).genotype()).double()
    assert_fast_is_plain(varied(net), [nullcontext])


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_technique_works_when_it_is_on_and_rests_when_it_is_off(technique, monkeypatch):
    module, worker, space = WORK[technique]
    work, calls = getattr(module, worker), []
    monkeypatch.setattr(module, worker, lambda *a: calls.append(a) or work(*a))
    net = supernet(space)
    for works, ways in ((True, (nullcontext(), alone(technique))), (False, (without(technique),))):
        for way in ways:
            calls.clear()
            with way:
                results(net, True)
            assert bool(calls) == works


def test_without_the_memory_format_networks_and_images_are_contiguous():
    net, images = supernet("imdn"), torch.rand(2, 3, 8, 8)
    assert move(net, CPU).network.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert to_device(images, CPU).is_contiguous(memory_format=torch.channels_last)
    with without("memory_format"):
        assert move(net, CPU).network.head.weight.is_contiguous()
        assert to_device(images, CPU).is_contiguous()
