"""A supernet with more active channels goes on from the one before."""

import pytest
import torch
from torch import nn

from srnas.choice import RelaxedBuilder, Supernet
from srnas.choice.pruning import shrink
from srnas.choice.widen import Widening
from srnas.spaces import space_builder

SPACES = {
    "imdn": {"name": "imdn", "num_feat": 16, "num_block": 1},
    "nasbench201": {"name": "nasbench201", "num_feat": 16, "num_cell": 1},
    "darts": {"name": "darts", "num_feat": 16, "num_cell": 3},
}


def supernet(space, k):
    choose = RelaxedBuilder(partial_channels=k, auxiliary_skip=True)
    return Supernet(space_builder(SPACES[space]), space, choose=choose, alpha_std=1.0)


def widened(space, ks=(4, 2)):
    torch.manual_seed(0)
    old, new = supernet(space, ks[0]), supernet(space, ks[1])
    for buffer in (b for n, b in old.network.named_buffers() if "running" in n):
        nn.init.uniform_(buffer, 0.1, 1.0)
    shrink(old, 2)
    widening = Widening(old, new)
    widening.copy_weights()
    return old, new, widening


def convolutions(net):
    return {n.replace(".mixed.", "."): m for n, m in net.named_modules() if hasattr(m, "groups")}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ks", [(4, 2), (2, 1)])
def test_every_convolution_keeps_its_kernels_and_adds_copies_of_them(space, ks):
    # net2wider.py of DrNAS: cat(weight, weight[index]) along each axis, without division
    old, new, _ = widened(space, ks)
    assert new.alive == old.alive
    assert all(torch.equal(new.alphas[k], old.alphas[k]) for k in old.alphas)
    narrow, grown = convolutions(old.network), 0
    for name, wide in convolutions(new.network).items():
        if "bypass" in name:
            continue
        before, after = narrow[name].weight, wide.weight
        grown += before.shape != after.shape
        out, inputs = before.shape[:2]
        assert torch.equal(after[:out, :inputs], before), name
        assert all(any(torch.equal(k, b) for b in before) for k in after[:, :inputs]), name
        columns = before.unbind(1)
        assert all(any(torch.equal(c, b) for b in columns) for c in after[:out].unbind(1)), name
    assert grown


def test_batchnorm_and_pointwise_convolutions_follow_the_channels_before_them():
    # the index of OutChannelWider goes to BNWider and to the next InChannelWider in
    # SepConv.wider, DilConv.wider and ReLUConvBN.wider of DrNAS' operations
    _, new, _ = widened("darts", (4, 1))
    for name, module in new.network.named_modules():
        if name.endswith(("dil_conv_3x3", "dil_conv_5x5")):
            _, depthwise, pointwise, norm = module
            copies = [
                next(j for j in range(i + 1) if torch.equal(k, depthwise.weight[j]))
                for i, k in enumerate(depthwise.weight)
            ]
            assert len(set(copies)) < len(copies)
            for i, j in enumerate(copies):
                assert torch.equal(pointwise.weight[:, i], pointwise.weight[:, j]), name
            for i, kernel in enumerate(pointwise.weight):
                j = next(j for j in range(i + 1) if torch.equal(kernel, pointwise.weight[j]))
                assert torch.equal(norm.running_mean[i], norm.running_mean[j]), name
                assert torch.equal(norm.running_var[i], norm.running_var[j]), name


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ks", [(4, 2), (2, 1)])
def test_momentum_and_moments_follow_their_weights(space, ks):
    # configure_optimizer in net2wider.py of DrNAS widens momentum_buffer by the indices of its
    # weight; Architect.optimizer, Adam of the alphas, is left as it is
    old, new, widening = widened(space, ks)
    sgd = [torch.optim.SGD(n.weight_parameters(), lr=0.1, momentum=0.9) for n in (old, new)]
    adam = [torch.optim.Adam(n.arch_parameters(), lr=0.1) for n in (old, new)]
    for p in old.weight_parameters():
        sgd[0].state[p]["momentum_buffer"] = 3 * p.detach()
    for p in old.arch_parameters():
        p.grad = torch.randn_like(p)
    adam[0].step()
    widening.copy_weights()
    widening.copy_state(*sgd)
    widening.copy_state(*adam)
    for p in new.weight_parameters():
        torch.testing.assert_close(sgd[1].state[p]["momentum_buffer"], 3 * p.detach())
    for label in old.alphas:
        before, after = adam[0].state[old.alphas[label]], adam[1].state[new.alphas[label]]
        assert after["step"] == 1
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(before[key], after[key])
