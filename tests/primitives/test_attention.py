"""Attentions against their definitions and released code."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from srnas.primitives.attention import Guided, ParameterFree, soft_pool


def test_soft_pooling_is_its_definition():
    x = torch.randn(1, 2, 10, 8, dtype=torch.double)
    found = soft_pool(x, 7, 3)
    values = x.numpy()
    assert found.shape == (1, 2, 2, 1)
    for row in range(2):
        for channel in range(2):
            window = values[0, channel, 3 * row : 3 * row + 7, :7]
            expected = (np.exp(window) * window).sum() / np.exp(window).sum()
            assert found[0, channel, row, 0].item() == pytest.approx(expected)


@pytest.mark.parametrize("largest", [10, 80, 300])
def test_soft_pooling_of_any_values_lies_between_those_of_its_window(largest):
    x = largest * (2 * torch.rand(1, 4, 16, 19, generator=torch.Generator().manual_seed(0)) - 1)
    x[:, 0], x[:, 1] = largest, -largest
    found = soft_pool(x, 7, 3)
    assert (found <= F.max_pool2d(x, 7, 3) + largest * 1e-5).all()
    assert (found >= -F.max_pool2d(-x, 7, 3) - largest * 1e-5).all()


def test_the_parameter_free_attention_is_spans():
    pytest.importorskip("spandrel", reason="needs srnas[spandrel]")
    released = importlib.import_module("spandrel.architectures.SPAN.__arch.span")
    torch.manual_seed(0)
    block, seen = released.SPAB(6, bias=True).eval(), []
    block.c3_r.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(1, 6, 9, 7)
    with torch.no_grad():
        expected = block(x)[0]
    torch.testing.assert_close(ParameterFree(6, 0)(seen[0], x), expected)


def test_the_guided_attention_is_a_product_with_a_matrix():
    attention = Guided(3, 0).double()
    x, before = torch.randn(2, 1, 3, 4, 5, dtype=torch.double)
    weight, bias = (p.detach().numpy() for p in attention.parameters())
    guide = np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x.numpy()) + bias[:, None, None]
    np.testing.assert_allclose(attention(x, before).detach(), (x + before).numpy() * guide)
