"""Mixed operations: the sum itself, merged kernels, partial channels."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from srnas.choice import RelaxedBuilder, Supernet
from srnas.choice.mixed_op import MixedOp, PartialMixedOp
from srnas.errors import UserError
from srnas.fast import plain
from srnas.fast.merging import mergeable
from srnas.primitives.darts import DARTS_PRIMITIVES
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import space_builder

SMALL = {"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 2}


def mixed_op(c_in=6, c_out=8, divisor=1, stride=1, seed=0, candidates=SR_PRIMITIVES, affine=False):
    torch.manual_seed(seed)
    choose = RelaxedBuilder(partial_channels=divisor, affine=affine)
    op = choose.op("c", candidates, c_in, c_out, stride).double()
    alphas = torch.randn(len(candidates), dtype=torch.double)
    weights = torch.softmax(alphas, 0).requires_grad_()
    choose.shared.weights = {"c": weights}
    return op, weights


@pytest.mark.parametrize("stride", [1, 2])
def test_merged_kernels_are_the_sum_of_all_candidates_with_its_gradients(stride):
    x = torch.randn(2, 6, 13, 12, dtype=torch.double, requires_grad=True)
    op, weights = mixed_op(stride=stride)
    assert len(mergeable(op.primitives, op.candidates)[0]) == 5, (
        "nothing is merged: the test proves nothing"
    )
    one_by_one = sum(w * op.candidates[n](x) for n, w in zip(op.candidates, weights, strict=True))
    together = op(x)
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-12)
    wanted = [x, weights, *op.parameters()]
    direction = torch.randn_like(together)
    expected = torch.autograd.grad(one_by_one, wanted, direction, allow_unused=True)
    for got, want in zip(
        torch.autograd.grad(together, wanted, direction, allow_unused=True), expected, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", [n for n in SR_PRIMITIVES if not n.endswith("_bn")])
def test_a_linear_candidates_kernel_is_its_response_to_impulses(name):
    primitive = SR_PRIMITIVES[name]
    module = primitive.build(3, 5).double()
    kernel, bias = primitive.as_kernel(module)
    side, reach = 21, primitive.linear_size // 2
    impulses = torch.zeros(3, 3, side, side, dtype=torch.double)
    for channel in range(3):
        impulses[channel, channel, side // 2, side // 2] = 1
    response = module(impulses) - bias[:, None, None]
    centre = slice(side // 2 - reach, side // 2 + reach + 1)
    # a convolution's response to an impulse is its kernel, flipped
    torch.testing.assert_close(
        response[:, :, centre, centre].flip(2, 3).transpose(0, 1), kernel, rtol=0, atol=1e-12
    )
    assert torch.isclose(response.abs().sum(), kernel.abs().sum()), "it reaches further"


def test_the_shuffle_interleaves_groups_and_keeps_every_channel():
    # y = shuffle_K(concat(searched, passed)): with 2 + 6 channels and K = 4, in order of
    # (B, K, C/K) -> (B, C/K, K): 0 2 4 6 1 3 5 7
    op, _ = mixed_op(8, 8, divisor=4)
    x = torch.randn(1, 8, 5, 5, dtype=torch.double)
    expected = torch.cat((op.mixed(x[:, :2]), x[:, 2:]), 1)[:, [0, 2, 4, 6, 1, 3, 5, 7]]
    assert torch.equal(op(x), expected)


@pytest.mark.parametrize(("c_in", "c_out", "parameters"), [(8, 8, 0), (12, 16, 9 * 12 + 12)])
def test_the_bypass_has_parameters_only_where_channels_change(c_in, c_out, parameters):
    op, _ = mixed_op(c_in, c_out, divisor=4)
    assert sum(p.numel() for p in op.bypass.parameters()) == parameters
    assert op(torch.randn(1, c_in, 9, 7, dtype=torch.double)).shape == (1, c_out, 9, 7)


def test_a_stride_of_two_max_pools_the_bypass():
    op, _ = mixed_op(8, 8, divisor=4, stride=2)
    x = torch.randn(1, 8, 6, 6, dtype=torch.double)
    pooled = x[:, 2:].unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    assert torch.equal(op.bypass(x[:, 2:]), pooled)
    assert op(x).shape == (1, 8, 3, 3)


def test_only_a_kth_of_the_channels_reaches_the_candidates():
    op, _ = mixed_op(8, 8, divisor=4)
    x = torch.randn(1, 8, 5, 5, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(op.mixed(x[:, : op.searched_channels]).sum(), x)
    assert gradient[:, :2].abs().sum() > 0
    assert gradient[:, 2:].abs().sum() == 0


def test_k_equal_to_one_is_the_plain_mixture():
    torch.manual_seed(0)
    plain = Supernet(space_builder(SMALL), "imdn")
    torch.manual_seed(0)
    partial = Supernet(space_builder(SMALL), "imdn", choose=RelaxedBuilder(partial_channels=1))
    assert not any(isinstance(m, PartialMixedOp) for m in partial.modules())
    x = torch.rand(1, 3, 12, 12)
    assert torch.equal(plain(x), partial(x))


def test_k_that_does_not_divide_the_channels_is_told():
    with pytest.raises(UserError, match=r"partial_channels: 3 does not divide the 16 -> 16"):
        Supernet(space_builder(SMALL), "imdn", choose=RelaxedBuilder(partial_channels=3))


def test_the_supernets_batchnorm_has_no_scale_and_shift_and_the_derived_one_has():
    supernet = Supernet(space_builder(SMALL), "imdn")
    norms = [m for m in supernet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 * 4 * 6
    assert not any(n.affine for n in norms)
    assert SR_PRIMITIVES["conv_3x3_bn"].build(4, 4).bn.affine


def test_only_candidates_that_fit_into_a_dense_one_are_merged():
    separable = {n: SR_PRIMITIVES[n] for n in ("ds_conv_3x3", "ds_conv_5x5", "dil_ds_conv_3x3")}
    mixed = RelaxedBuilder().op("c", separable, 4, 4)
    assert isinstance(mixed, MixedOp)
    assert mergeable(mixed.primitives, separable) == ([], 0), (
        "a dense kernel would cost more than the separable ones"
    )


def test_a_label_shares_one_row_between_all_blocks():
    supernet = Supernet(space_builder(SMALL), "imdn")
    assert {k: a.shape for k, a in supernet.alphas.items()} == dict.fromkeys(
        ("c1", "c2", "c3", "c4"), (12,)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("candidates", [SR_PRIMITIVES, DARTS_PRIMITIVES], ids=["sr", "darts"])
def test_weights_in_the_norms_leave_outputs_gradients_and_statistics(
    candidates, affine, momentum, training
):
    torch.manual_seed(0)
    ours, _ = mixed_op(c_out=6, candidates=candidates, affine=affine)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
            if affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    theirs = copy.deepcopy(ours)
    found = []
    for op, how in ((ours, nullcontext), (theirs, plain)):
        op.train()
        for seed in range(2):  # twice, as a mean of all batches begins with one of them
            torch.manual_seed(seed)
            with how():
                op(torch.randn(2, 6, 8, 8, dtype=torch.double))
        op.train(training)
        x = torch.randn(2, 6, 8, 8, dtype=torch.double, requires_grad=True)
        with how():
            output = op(x)
        wanted = [x, op.shared.weights["c"], *op.parameters()]
        gradients = torch.autograd.grad(output.square().sum(), wanted, allow_unused=True)
        found.append([output, *gradients, *op.buffers()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
