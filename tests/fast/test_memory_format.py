"""BatchNorm in another memory format: torch's own is the oracle."""

import pytest
import torch
from torch import nn

from srnas.fast import memory_format
from srnas.fast.memory_format import in_fast_memory
from srnas.primitives.batchnorm import BatchNorm2d


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("channels", [1, 4, 12, 16])
def test_it_is_torchs_batchnorm(threads, channels, affine, memory_format):
    torch.manual_seed(0)
    ours = BatchNorm2d(channels, affine=affine)
    if affine:
        nn.init.normal_(ours.weight)
        nn.init.normal_(ours.bias)
    theirs = nn.BatchNorm2d(channels, affine=affine).double()
    theirs.load_state_dict(ours.state_dict())
    x = (5 + torch.randn(3, channels, 7, 6)).to(memory_format=memory_format).requires_grad_()
    weights = torch.randn(3, channels, 7, 6)
    for training in (True, False):
        results = []
        for module in (ours.train(training), theirs.train(training)):
            dtype = next(module.buffers()).dtype
            output = module(x.to(dtype))
            gradients = torch.autograd.grad((output * weights).sum(), (x, *module.parameters()))
            results.append((output.detach(), *gradients, *module.buffers()))
        for mine, other in zip(*results, strict=True):
            torch.testing.assert_close(mine, other.to(mine), rtol=1e-5, atol=2e-5)
        assert results[0][0].is_contiguous(memory_format=memory_format)


def test_the_memory_format_changes_where_channels_share_cache_lines_alone(threads):
    seen = []

    def norm(x):
        seen.append(x.is_contiguous())
        return x

    for channels, moved in (
        (4, True),
        (12, threads > 1),
        (16, False),
        (20, threads > 1),
        (24, False),
        (48, False),
    ):
        x = torch.rand(2, channels, 3, 5).to(memory_format=torch.channels_last)
        assert in_fast_memory(norm, x).is_contiguous(memory_format=torch.channels_last)
        assert seen.pop() == moved
    assert torch.equal(in_fast_memory(norm, x), x)


def test_second_derivatives_by_finite_differences(monkeypatch):
    monkeypatch.setattr(memory_format, "NARROW", 100)
    torch.manual_seed(0)
    norm = BatchNorm2d(2).double()
    x = torch.randn(2, 2, 2, 3, dtype=torch.double).to(memory_format=torch.channels_last)
    assert torch.autograd.gradgradcheck(norm, x.requires_grad_())
