"""Starts of cheaper parts of plain networks, against NumPy and cases in which nothing is lost."""

import numpy as np
import pytest
import torch
from torch import nn

from srnas.choice import Genotype
from srnas.model_file import Model, load_model
from srnas.shrinking.activations import LeastSquares, observe
from srnas.shrinking.alternatives import layers_of, list_alternatives, open_model
from srnas.shrinking.fit import Fits
from srnas.shrinking.score import Scorer
from srnas.shrinking.start import Starter
from srnas.spaces import check_space, derived_network

SPACE = {
    "name": "plain", "widths": [8, 4, 8], "convs": 3, "attention": ["none", "lia", "gate"],
}  # fmt: skip


def images(count=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(2, 3, 16, 16, generator=generator) for _ in range(count)]


def starts(change=None, space=SPACE):
    """A network after a change of its weights, and the start of each alternative by its text."""
    torch.manual_seed(0)
    space, genotype = check_space(space), Genotype("plain", {})
    network = derived_network(space, genotype).eval()
    if change:
        with torch.no_grad():
            change(network)
    net = open_model(Model(network, space, genotype, {}), "here", {})
    found = list_alternatives(net)
    start = Starter(net, observe(net, found, images))
    return net, {str(one): start.network(one) for one in found}


def assert_equal(one, other):
    x = torch.rand(2, 3, 19, 23, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(one(x), other(x), rtol=0, atol=2e-5)


def test_the_convolution_of_least_squares_is_numpys():
    generator = torch.Generator().manual_seed(0)
    conv, wanted = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(2, 4, 5, padding=2)
    fit = LeastSquares(conv)
    rows, targets = [], []
    for _ in range(2):
        x = torch.rand(2, 2, 6, 7, generator=generator)
        y = wanted(x).detach()
        fit.add(x, y)
        padded = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 1), (1, 1)])
        for b, i, j in np.ndindex(2, 6, 7):
            rows.append([*padded[b, :, i : i + 3, j : j + 3].ravel(), 1.0])
            targets.append(y[b, :, i, j].numpy())
    expected = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    weight, bias = fit.solution()
    assert weight.shape == (4, 2, 3, 3)
    np.testing.assert_allclose(weight.reshape(4, -1).numpy().T, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(bias.numpy(), expected[-1], atol=1e-4)


def test_a_shorter_block_is_the_longer_one_if_its_last_convolution_is_linear():
    def straighten(network):  # leaky ReLU is the identity of what is positive
        first, second, third = network.blocks[0].convs
        first.bias.fill_(2.0)
        second.weight.abs_()
        second.bias.fill_(0.1)
        third.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        third.bias.zero_()

    net, found = starts(straighten)
    x = torch.rand(2, 3, 19, 23)
    with torch.no_grad():
        features = net.network.head(x)[:, :8]
        expected = net.network.blocks[0](features)
        near = found["block1/convs=2"].blocks[0](features)
        assert len(found["block1/convs=2"].blocks[0].convs) == 2
        torch.testing.assert_close(near, expected, rtol=0, atol=1e-3)


def test_channels_in_a_block_that_are_copies_are_not_missed():
    def double(network):
        for conv in network.blocks[0].convs[:2]:
            conv.weight[4:], conv.bias[4:] = conv.weight[:4], conv.bias[:4]

    net, found = starts(double)
    network = found["block1/hidden=4"]
    assert [c.weight.shape[:2] for c in network.blocks[0].convs] == [(4, 8), (4, 4), (8, 4)]
    assert_equal(network, net.network)


def test_channels_of_the_whole_network_that_nothing_reads_are_not_missed():
    def unread(network):  # only channels 0 to 3, and the image's at the end, are read
        for block in network.blocks:
            for conv in block.convs:
                conv.weight[:, 4:] = 0
            if hasattr(block.attention, "conv"):
                block.attention.conv.weight[:, 4:] = 0
        network.upsample[0].weight[:, 4:8] = 0

    net, found = starts(unread)
    network = found["feat=4"]
    assert network.head.weight.shape[0] == 4 + 3
    assert [block.channels for block in network.blocks] == [4, 4, 4]
    assert_equal(network, net.network)


def test_the_first_channel_stays_where_it_gates():
    def silence(network):  # nothing else would keep it
        for block in network.blocks:
            block.convs[0].weight[:, 0] = 0
            if hasattr(block.attention, "conv"):
                block.attention.conv.weight[:, 0] = 0
        network.upsample[0].weight[:, 0] = 0

    net, found = starts(silence)
    head = found["feat=4"].head
    assert torch.equal(head.weight[0], net.network.head.weight[0])
    assert torch.equal(head.weight[-3:], net.network.head.weight[-3:]), "the image's channels"


def test_alternatives_with_the_same_effect_are_one():
    _, found = starts()
    effects = [layers_of(network, "") for network in found.values()]
    assert len(set(effects)) == len(effects)
    assert "block1/convs=1" in found
    assert "block1/convs=1 block1/hidden=4" not in found


@pytest.mark.slow
def test_starts_of_plainusr_lose_little_and_fits_less(shared):
    """Starts against doing nothing but cutting: fewer layers of PlainUSR-S stay close."""
    file = shared / "checkpoints/plainusr/PlainUSRS_Rep_x2.pth"
    net = open_model(load_model(file), "S", {})
    found = [one for one in list_alternatives(net) if "convs" in str(one)]
    start = Starter(net, observe(net, found, images))
    networks = [start.network(one) for one in found]
    scorer = Scorer(net.network, images(2))
    for one, network in zip(found, networks, strict=True):
        naive = net.changed(one.changes)
        known = net.network.state_dict()
        naive.load_state_dict({
            k: known[k][tuple(slice(n) for n in t.shape)] for k, t in naive.state_dict().items()
        })  # fmt: skip
        assert scorer.loss(network) < 0.5 * scorer.loss(naive.eval()), str(one)
    fits = Fits(net.network, found, networks, 20)
    losses = [fits.step(step, x) for step, x in enumerate(images(20))]
    assert np.mean(losses[-1]) < np.mean(losses[0])
