"""IMDN: the published network, and its attention in hard places."""

import pytest
import torch

from srnas.files import load_tensors
from srnas.spaces import derived_network, published_genotype
from srnas.spaces.imdn import IMDN, ContrastAwareAttention


@pytest.mark.parametrize(("scale", "parameters"), [(2, 694_404), (4, 715_176)])
def test_imdn_has_the_published_number_of_parameters(scale, parameters):
    network = derived_network({"name": "imdn", "scale": scale}, published_genotype("imdn"))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_weights_fill_the_network_completely(shared, scale):
    network = derived_network({"name": "imdn", "scale": scale}, published_genotype("imdn"))
    published = load_tensors(shared / "checkpoints" / f"IMDN_x{scale}.pth")
    network.load_state_dict(IMDN.from_published(published), strict=True)
    assert network(torch.rand(1, 3, 7, 9)).shape == (1, 3, 7 * scale, 9 * scale)


def test_attention_statistics_are_mean_plus_population_deviation():
    attention = ContrastAwareAttention(8).double()
    seen = []
    attention.squeeze.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(2, 8, 5, 6, dtype=torch.double)
    attention.float()(x.float())
    expected = x.numpy().mean((2, 3)) + x.numpy().std((2, 3))
    torch.testing.assert_close(seen[0][..., 0, 0], torch.from_numpy(expected).float())


def test_attention_does_not_overflow_in_half_precision_at_320x180():
    # a sum of values of 2 over 320x180 is 115,200: beyond float16's 65,504
    attention = ContrastAwareAttention(16).to(torch.bfloat16)
    x = torch.full((1, 16, 180, 320), 2.0, dtype=torch.bfloat16)
    half = ContrastAwareAttention(16).half()
    assert torch.isfinite(attention(x)).all()
    assert torch.isfinite(half(x.half())).all()


def test_attention_has_a_finite_gradient_on_a_flat_patch():
    attention = ContrastAwareAttention(8)
    x = torch.full((1, 8, 6, 6), 0.5, requires_grad=True)
    attention(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_width_blocks_and_candidates_are_options():
    from srnas.choice import Supernet
    from srnas.spaces import space_builder

    space = {
        "name": "imdn",
        "num_feat": 8,
        "num_block": 3,
        "candidates": ["conv_3x3", "ds_conv_3x3"],
    }
    supernet = Supernet(space_builder(space), "imdn")
    assert len(supernet.network.blocks) == 3
    assert supernet.alphas["c2"].shape == (2,)
    assert supernet(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
