"""Depthwise convolutions: torch's own gradients, and finite differences, are the oracle."""

import copy

import pytest
import torch
from torch import nn

from srnas.fast import depthwise
from srnas.fast.depthwise import _Depthwise, kernel_gradient
from srnas.primitives.depthwise import DepthwiseConv2d

SHAPES = [  # batch, channels, height, width, kernel, dilation
    (2, 3, 7, 9, 5, 1),
    (1, 4, 11, 5, 5, 2),
    (3, 2, 6, 8, 3, 2),
    (2, 1, 2, 3, 5, 2),  # smaller than the kernel
    (1, 2, 1, 1, 5, 1),
    (2, 3, 8, 8, 3, 1),
    (1, 2, 9, 8, 7, 1),
    (2, 2, 10, 8, 3, 3),
    (2, 3, 8, 8, 1, 1),
    (2, 3, 8, 12, 5, 2),  # one row lower than the kernel with its dilation
    (2, 3, 9, 12, 5, 2),
]


@pytest.fixture(autouse=True, params=[0, 10**9], ids=["folded", "whole"])
def small(request, monkeypatch):
    """Take the gradients of kernels from folded rows, as of large maps, or from torch."""
    monkeypatch.setattr(depthwise, "SMALL", request.param)


def assert_the_same(ours, theirs, x, weights):
    """Compare outputs, and the gradients of their weighted sum."""
    results = []
    for module in (ours, theirs):
        output = module(x)
        gradients = torch.autograd.grad((weights * output).sum(), (x, *module.parameters()))
        results.append((output.detach(), *gradients))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("batch", "channels", "height", "width", "size", "dilation"), SHAPES)
def test_gradients_are_those_of_torch(batch, channels, height, width, size, dilation):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(channels, size, dilation=dilation).double()
    theirs = nn.Conv2d(
        channels, channels, size, padding="same", dilation=dilation, groups=channels
    ).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, channels, height, width, dtype=torch.double, requires_grad=True)
    weights = torch.randn_like(x)
    assert_the_same(ours, theirs, x, weights)
    (expected,) = torch.autograd.grad((weights * theirs(x)).sum(), theirs.weight)
    found = kernel_gradient(x.detach(), weights, size, dilation)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(5, 2, 2), (3, 2, 2), (3, 2, 4), (3, 3, 3), (5, 2, 1)]
)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (1, 2)])
def test_gradients_with_a_stride_are_those_of_torch(
    size, stride, dilation, height, width, memory_format
):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(3, size, stride, dilation).double()
    margin = dilation * (size // 2)
    theirs = nn.Conv2d(3, 3, size, stride, margin, dilation, groups=3).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, height, width, dtype=torch.double).to(memory_format=memory_format)
    x.requires_grad_()
    weights = torch.randn_like(theirs(x))
    assert_the_same(ours, theirs, x, weights)


def test_gradients_of_first_and_second_order_by_finite_differences():
    torch.manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, dtype=torch.double, requires_grad=True)
        for shape in ((2, 2, 4, 3), (2, 1, 3, 3), (2,))
    )
    assert torch.autograd.gradcheck(_Depthwise.apply, (x, weight, bias, 2))
    assert torch.autograd.gradgradcheck(_Depthwise.apply, (x, weight, bias, 2))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_single_precision_in_both_memory_formats(memory_format):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(8, 5, dilation=2)
    x = torch.randn(2, 8, 12, 10).to(memory_format=memory_format).requires_grad_()
    weights = torch.randn(2, 8, 12, 10)
    (ours(x) * weights).sum().backward()
    grads = x.grad, ours.weight.grad, ours.bias.grad
    exact = nn.Conv2d(8, 8, 5, padding="same", dilation=2, groups=8).double()
    exact.load_state_dict(ours.state_dict())
    y = x.detach().double().requires_grad_()
    (exact(y) * weights).sum().backward()
    for mine, other in zip(grads, (y.grad, exact.weight.grad, exact.bias.grad), strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-5, atol=1e-4)


def test_autocast_computes_in_its_precision_and_keeps_single_precision_gradients():
    torch.manual_seed(0)
    module = DepthwiseConv2d(4, 5)
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(x)
    assert output.dtype == torch.bfloat16
    output.float().square().mean().backward()
    mine = module.weight.grad.clone()
    module.weight.grad = None
    module(x).square().mean().backward()
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, module.weight.grad, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 12, 16, 64])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 2), (5, 1, 2), (5, 1, 1), (5, 2, 2)]
)
def test_half_precision_gradients_are_those_of_double_precision(
    channels, size, stride, dilation, memory_format
):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(channels, size, stride, dilation)
    exact = copy.deepcopy(ours).double()
    x = torch.randn(4, channels, 32, 32).to(memory_format=memory_format)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours(x)
    weights = torch.randn_like(output)
    found = torch.autograd.grad((output * weights).sum(), ours.weight)[0]
    expected = torch.autograd.grad((exact(x.double()) * weights).sum(), exact.weight)[0]
    limit = 0.02 * float(expected.abs().max())  # bfloat16 has 8 bits
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=limit)


@pytest.mark.parametrize(("size", "stride"), [(5, 2), (3, 1)], ids=["strided", "small"])
def test_other_convolutions_take_the_path_of_torch(size, stride):
    module = DepthwiseConv2d(2, size, stride)
    output = module(torch.randn(1, 2, 6, 8))
    assert type(output.grad_fn).__name__ == "ConvolutionBackward0"
    assert output.shape[-1] == 8 // stride
    for ours in (DepthwiseConv2d(2, 5), DepthwiseConv2d(2, 3, stride=2, dilation=2)):
        output = ours(torch.randn(1, 2, 6, 8))
        assert type(output.grad_fn).__name__ == "_DepthwiseBackward"
