"""A supernet with more active channels goes on from the one before."""

import torch

from srnas.choice import Relaxed, Supernet
from srnas.choice.pruning import shrink
from srnas.choice.widen import widen
from srnas.spaces import space_builder

SPACE = {"name": "imdn", "num_feat": 16, "num_block": 1}


def test_wider_candidates_repeat_the_old_ones_and_keep_the_sum_over_inputs():
    torch.manual_seed(0)
    old = Supernet(space_builder(SPACE), "imdn", choose=Relaxed(partial_channels=4), alpha_std=1.0)
    shrink(old, 5)
    new = widen(old, Supernet(space_builder(SPACE), "imdn", choose=Relaxed(partial_channels=2)))
    assert new.alive == old.alive
    assert all(torch.equal(new.alphas[k], old.alphas[k]) for k in old.alphas)
    assert torch.equal(new.network.head.weight, old.network.head.weight)
    narrow, wide = (net.network.blocks[0].c1.mixed.candidates for net in (old, new))
    assert wide["conv_3x3"].weight.shape == (8, 8, 3, 3)
    # an input that repeats as the channels do gives an output that repeats
    x = torch.rand(1, 4, 7, 7)
    twice = torch.cat((x, x), dim=1)
    for name in ("conv_3x3", "ds_conv_5x5", "conv_5x5_bn", "dil_ds_conv_3x3_bn"):
        y = narrow[name](x)
        torch.testing.assert_close(wide[name](twice), torch.cat((y, y), dim=1))
