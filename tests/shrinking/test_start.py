"""Starts of alternatives in closed form, against NumPy, brute force, and exact cases."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from srnas.choice.closed_form import approximate, resized, separated
from srnas.model_file import Model
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.shrinking.activations import observe
from srnas.shrinking.alternatives import list_alternatives, open_model
from srnas.shrinking.start import Starter, forward_selection, restoration
from srnas.spaces import check_space, derived_network, published_genotype

SPACE = {"name": "imdn", "num_feat": 16, "num_block": 2}


def original(space=None, change=None):
    torch.manual_seed(0)
    space = check_space(space or SPACE)
    genotype = published_genotype(space)
    network = derived_network(space, genotype).eval()
    if change:
        with torch.no_grad():
            change(network)
    return open_model(Model(network, space, genotype, {}), "here", {})


def images(count=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 3, 16, 16, generator=generator) for _ in range(count)]


def starter(net):
    found = list_alternatives(net)
    return found, Starter(net, observe(net, found, images))


def relative(y, expected):
    return float((y - expected).square().mean() / expected.var())


def test_the_separable_kernel_leaves_the_other_singular_values():
    kernel = torch.randn(6, 5, 3, 3, dtype=torch.double)
    depthwise, pointwise = separated(kernel)
    assert depthwise.shape == (5, 1, 3, 3)
    near = pointwise * depthwise.transpose(0, 1)
    left = sum(
        (np.linalg.svd(kernel[:, i].flatten(1).numpy(), compute_uv=False)[1:] ** 2).sum()
        for i in range(5)
    )
    assert (near - kernel).square().sum().item() == pytest.approx(left)


@pytest.mark.parametrize("name", ["conv_5x5", "conv_5x5_bn", "ds_conv_3x3", "ds_conv_5x5_bn"])
def test_a_candidate_that_can_be_the_convolution_is_it(name):
    depthwise, pointwise = torch.randn(1, 4, 3, 3), torch.randn(6, 4, 1, 1)
    kernel, bias = depthwise * pointwise, torch.randn(6)
    module = SR_PRIMITIVES[name].build(4, 6).eval()
    assert approximate(module, kernel, bias)
    x = torch.randn(2, 4, 9, 7)
    expected = nn.functional.conv2d(x, kernel, bias, padding=1)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


def test_a_dilated_candidate_has_no_closed_form():
    module = SR_PRIMITIVES["dil_ds_conv_3x3"].build(4, 4)
    before = module[0].weight.clone()
    assert not approximate(module, torch.randn(4, 4, 3, 3), torch.randn(4))
    assert torch.equal(module[0].weight, before)


def test_a_kernel_is_padded_and_cropped_around_its_middle():
    kernel = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert torch.equal(resized(kernel, 3), kernel[..., 1:4, 1:4])
    assert torch.equal(resized(resized(kernel, 7), 5), kernel)


def test_channels_are_restored_as_numpy_does():
    x = np.random.default_rng(0).normal(size=(200, 6)) @ np.random.default_rng(1).normal(
        size=(6, 6)
    )
    keep = torch.tensor([0, 2, 5])
    restore = restoration(torch.from_numpy(x.T @ x / len(x)), keep)
    expected, *_ = np.linalg.lstsq(x[:, keep], x, rcond=None)
    np.testing.assert_allclose(restore.numpy(), expected.T, atol=1e-4)


def test_the_first_chosen_channel_is_the_best_one_and_few_beat_a_greedy_set():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(300, 7)) @ generator.normal(size=(7, 7))
    weight = generator.normal(size=(5, 7))

    def error(keep):
        part = x[:, list(keep)]
        near = part @ np.linalg.lstsq(part, x, rcond=None)[0]
        return np.square((near - x) @ weight.T).sum()

    moment, use = (torch.from_numpy(m) for m in (x.T @ x / len(x), weight.T @ weight))
    (first,) = forward_selection(moment, use, 1).tolist()
    assert error([first]) == min(error([one]) for one in range(7))
    three = forward_selection(moment, use, 3)
    errors = sorted(error(keep) for keep in combinations(range(7), 3))
    assert error(three.tolist()) <= errors[len(errors) // 4]
    assert three.tolist() == sorted(set(three.tolist()))


def test_principal_components_keep_what_lies_in_a_subspace():
    def flatten(network):  # all that is added to the stream lies in 12 of 16 dimensions
        basis = torch.linalg.qr(torch.randn(16, 12))[0]
        project = basis @ basis.T
        for conv in (network.head, network.body_end, *(b.fuse for b in network.blocks)):
            conv.weight.copy_(torch.einsum("oi,i...->o...", project, conv.weight))
            conv.bias.copy_(project @ conv.bias)
        network.fuse.weight[4:] = 0  # 12 of the channels behind it are never on
        network.fuse.bias[4:] = 0

    net = original(change=flatten)
    found, start = starter(net)
    (narrow,) = (one for one in found if one.changes == {"feat": 12})
    x = torch.rand(1, 3, 20, 20)
    y = start.network(narrow)(x)
    torch.testing.assert_close(y, net.network(x), rtol=0, atol=1e-4)


def test_channels_that_are_copies_of_others_are_not_missed():
    def double(network):  # the second half of what a block passes on copies the first
        block = network.blocks[0]
        for conv in (block.c1, block.c2, block.c3):
            conv.weight[10:] = conv.weight[4:10]
            conv.bias[10:] = conv.bias[4:10]

    net = original(change=double)
    found, start = starter(net)
    (narrow,) = (one for one in found if one.changes == {"block1/rest": 6})
    x = torch.rand(1, 3, 20, 20)
    torch.testing.assert_close(start.network(narrow)(x), net.network(x), rtol=0, atol=1e-4)


def test_least_squares_start_nearer_than_the_first_channels():
    net = original()
    found, start = starter(net)
    x = torch.rand(1, 3, 24, 24)
    expected = net.network.blocks[0](net.network.head(x))
    for one in found:
        if one.scope == "blocks.0" and one.changes["block1/rest"] >= 4:
            network = start.network(one)
            naive = net.changed(one.changes)
            known = net.network.state_dict()
            naive.load_state_dict({
                k: known[k][tuple(slice(n) for n in t.shape)] for k, t in naive.state_dict().items()
            })  # fmt: skip
            features = net.network.head(x)
            near = relative(network.blocks[0](features), expected)
            assert near < relative(naive.blocks[0](features), expected), str(one)
