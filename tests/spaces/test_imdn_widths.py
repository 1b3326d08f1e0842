"""Widths of IMDN in the supernet: with one-hot weights it is the network of these widths."""

from itertools import product

import pytest
import torch

from srnas.choice import Genotype, Supernet
from srnas.choice.inherit import inherited
from srnas.errors import UserError
from srnas.spaces import check_space, derived_network, published_genotype, spelled_out

SPACE = {
    "name": "imdn", "num_feat": 16, "num_block": 2, "candidates": ["conv_3x3", "conv_5x5"],
    "per_block": True, "search_rest": [3, 8, 12], "search_feat": [5, 12, 16],
}  # fmt: skip


@pytest.mark.parametrize(("feat", "first", "second"), list(product([5, 16], [3, 12], [8, 12])))
def test_one_hot_weights_are_the_network_with_the_first_channels(feat, first, second):
    torch.manual_seed(0)
    space = check_space(SPACE)
    net = Supernet(space.build, space.name).double().eval()
    choices = spelled_out(space, published_genotype(space)).choices
    choices |= {"feat": feat, "block1/rest": first, "block2/rest": second}
    choices |= {"block1/c2": "conv_5x5"}
    genotype = Genotype("imdn", choices)
    network = derived_network(space, genotype).double().eval()
    places = net.network.read_choices(choices)
    network.load_state_dict(inherited(net, network, places))
    assert network.blocks[0].c1.weight.shape[:2] == (4 + first, feat)
    rows = {}
    for choice in net.choices.whole:
        rows |= choice.encode(places[choice.place])
    x = torch.rand(2, 3, 9, 7, dtype=torch.double)
    with net.replaced({label: torch.tensor(row).double() for label, row in rows.items()}):
        torch.testing.assert_close(net(x), network(x), rtol=0, atol=1e-12)


def test_the_largest_widths_are_the_network_without_searched_ones():
    options = {"name": "imdn", "num_feat": 64, "num_block": 6}
    opened = {**options, "search_rest": [16, 48], "search_feat": [48, 64], "per_block": True}
    plain = derived_network(options, published_genotype(options))
    wide = derived_network(opened, published_genotype(opened))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in wide.state_dict().items()
    }


def test_a_width_beyond_the_network_is_one_line():
    wide = {**SPACE, "search_feat": [20]}
    with pytest.raises(UserError, match=r"imdn: search_feat has 20, the network 16"):
        derived_network(wide, published_genotype(SPACE))
