"""Merged convolutions against their branches, and against released code."""

import importlib

import pytest
import torch
from torch import nn

from srnas.primitives.reparameterized import (
    ECB,
    REPARAMETERIZED,
    Conv3XC,
    Reparameterized,
    RepMBConv,
    merge_convolutions,
    reparameterize_convolutions,
)
from tests.branches import BRANCHES, disturb

FORMS = {
    "rep_mbconv": RepMBConv,
    "rep_mbconv, mixed": lambda inputs, outputs: RepMBConv(inputs, outputs, mix=True),
    "ecb": ECB,
    "conv3xc": Conv3XC,
}
CHANNELS = [(6, 6), (6, 4), (3, 8)]
SIZES = [(7, 9), (1, 5), (13, 3)]


def formed(name, inputs=6, outputs=6):
    """A form with parameters like those after training."""
    torch.manual_seed(0)
    form = FORMS[name](inputs, outputs)
    if hasattr(form, "latent"):  # so that the attention is not 1
        for parameter in (form.latent, form.reduce, form.restore):
            nn.init.normal_(parameter, std=0.5)
    return disturb(form)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_merged_convolution_is_its_branches_at_the_borders_too(name, size, channels):
    form = formed(name, *channels)
    x = torch.randn(2, channels[0], *size)
    expected = BRANCHES[type(form)](form, x)
    assert (form(x) - expected).abs().max() < 1e-5
    assert (form.merged()(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_gradients_of_all_parameters_are_those_through_the_branches(name, channels):
    form = formed(name, *channels).double()
    x, weight = (torch.randn(2, count, 7, 9, dtype=torch.double) for count in channels)
    parameters = [x.requires_grad_(), *form.parameters()]
    merged = torch.autograd.grad((form(x) * weight).sum(), parameters)
    branches = torch.autograd.grad((BRANCHES[type(form)](form, x) * weight).sum(), parameters)
    for found, expected in zip(merged, branches, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_conv3xc_is_spans_in_training_and_in_use():
    pytest.importorskip("spandrel", reason="needs srnas[spandrel]")
    released = importlib.import_module("spandrel.architectures.SPAN.__arch.span")
    torch.manual_seed(0)
    theirs, form = disturb(released.Conv3XC(6, 6, gain1=2)), Conv3XC(6, 6)
    names = {"skip": "sk", "expand": "conv.0", "conv": "conv.1", "squeeze": "conv.2"}
    state = theirs.state_dict()
    form.load_state_dict(
        {f"{n}.{p}": state[f"{t}.{p}"] for n, t in names.items() for p in ("weight", "bias")}
    )
    for size in SIZES:
        x = torch.randn(2, 6, *size)
        assert (form(x) - theirs.train()(x)).abs().max() < 1e-5
        assert (form(x) - theirs.eval()(x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_form_adopts_a_convolution_and_goes_on_learning_with_all_its_parameters(name, channels):
    torch.manual_seed(1)
    form, conv = formed(name, *channels), disturb(nn.Conv2d(*channels, 3, padding=1))
    form.adopt(conv.weight, conv.bias)
    x = torch.randn(2, channels[0], 7, 9)
    assert (form(x) - conv(x)).abs().max() < 1e-5
    form(x).square().sum().backward()
    frozen = {"latent", "reduce", "restore"} if name.startswith("rep") else set()
    for key, parameter in form.named_parameters():
        if key not in frozen:
            assert parameter.grad.abs().max() > 0, key


def test_the_untrained_bottleneck_has_the_released_initial_values():
    form = RepMBConv(8, 8, mix=True)
    assert torch.equal(form.latent, torch.full((1, 16, 1, 1), 0.1))
    assert form.reduce.shape == (4, 16)
    assert (form.reduce == 1).all()
    assert (form.restore == 1).all()
    assert torch.equal(form.mix.weight, torch.full((1, 8, 1, 1), 1 / 8))
    assert form.mix.bias == 0
    # sigmoid(4 silu(1.6)) by hand: silu(1.6) = 1.6 / (1 + exp(-1.6)) = 1.33119
    assert form.attention().tolist() == pytest.approx([0.99516] * 16, abs=1e-4)


def test_half_precision_rounds_the_merged_kernel_only():
    form = formed("rep_mbconv")
    x = torch.randn(1, 6, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = form(x)
    plain = form.merged().bfloat16()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, plain)


def test_every_convolution_of_a_network_is_merged_with_the_same_output():
    torch.manual_seed(0)
    inner = nn.ModuleDict({"a": ECB(4, 4)})["a"]
    network = nn.Sequential(RepMBConv(4, 4), inner, nn.ReLU(), Conv3XC(4, 4))
    x = torch.randn(1, 4, 6, 7)
    expected = network(x)
    merge_convolutions(network)
    assert [type(m).__name__ for m in network] == ["Conv2d", "Conv2d", "ReLU", "Conv2d"]
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("form", REPARAMETERIZED)
def test_the_dense_3x3_convolutions_of_a_network_take_a_form_and_come_back(form):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
    )
    kinds = [type(m) for m in network]
    x = torch.randn(1, 3, 17, 18)
    expected = network(x)
    reparameterize_convolutions(network, form)
    assert [isinstance(m, Reparameterized) for m in network] == [True] * 2 + [False] * 7
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    reparameterize_convolutions(network, form)  # the branches are no plain convolutions
    merge_convolutions(network)
    assert [type(m) for m in network] == kinds
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
