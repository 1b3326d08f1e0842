"""The loss landscape of a quadratic function, whose grid has a closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from srnas.analysis import landscape
from srnas.analysis.landscape import random_directions
from srnas.choice import Supernet
from srnas.errors import UserError
from srnas.spaces import space_builder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def parameters():
    """A convolution, its bias, and a linear layer, in double precision."""
    torch.manual_seed(1)
    return [
        *nn.Conv2d(3, 5, 3).double().parameters(),
        nn.Linear(4, 6, bias=False).double().weight,
    ]


def test_the_grid_of_a_quadratic_is_the_closed_form():
    # L = |w|^2 / 2 along orthogonal d1 and d2, |d1|^2 = |w|^2 where all filters have w's norms:
    # L(a, b) = L(0, 0) + a<w, d1> + b<w, d2> + a^2 |d1|^2 / 2 + b^2 |d2|^2 / 2
    w = [p.detach() for p in parameters() if p.dim() > 1]
    grid = landscape(
        lambda: float(sum(p.square().sum() for p in w) / 2), w, seeded(), span=0.5, points=5
    )
    loss, t = grid.values["loss"], grid.positions
    np.testing.assert_allclose(t, [-0.5, -0.25, 0, 0.25, 0.5])
    square = float(sum(p.square().sum() for p in w))
    assert loss[2, 2] == square / 2, "the middle is the network itself"
    separable = loss[:, 2, None] + loss[None, 2, :] - loss[2, 2]
    np.testing.assert_allclose(loss, separable, rtol=1e-13)
    np.testing.assert_allclose(loss[4, 2] + loss[0, 2] - 2 * loss[2, 2], 0.5**2 * square)
    slope = (loss[4, 2] - loss[0, 2]) / (t[4] - t[0])
    along = loss[2, 2] + slope * t + square / 2 * t**2
    np.testing.assert_allclose(loss[:, 2], along, rtol=1e-12)


def test_filters_keep_their_norms_and_biases_do_not_move():
    kernel, bias, linear = parameters()
    first, _ = random_directions([kernel, bias, linear], seeded())
    for p, d in ((kernel, first[0]), (linear, first[2])):
        torch.testing.assert_close(d.flatten(1).norm(dim=1), p.detach().flatten(1).norm(dim=1))
    assert not first[1].any()


def test_alphas_keep_the_norm_of_each_tensor():
    net = Supernet(space_builder({"name": "dlsr", "num_feat": 8}), "dlsr", alpha_std=1.0)
    alphas = net.arch_parameters()
    first, _ = random_directions(alphas, seeded(), "tensor")
    for direction, alpha in zip(first, alphas, strict=True):
        torch.testing.assert_close(direction.norm(), alpha.detach().norm())
    with pytest.raises(ValueError, match="normalize='tensor'"):
        random_directions(alphas, seeded())


@pytest.mark.parametrize("normalize", ["filter", "tensor"])
def test_the_directions_are_orthogonal_and_follow_the_seed(normalize):
    def flat(seed):
        both = random_directions(parameters(), seeded(seed), normalize)
        return [torch.cat([d.flatten() for d in one]).numpy() for one in both]

    d1, d2 = flat(0)
    assert abs(d1 @ d2) < 1e-12 * np.linalg.norm(d1) * np.linalg.norm(d2)
    assert np.linalg.norm(d2) > 0.5 * np.linalg.norm(d1)
    assert (flat(0)[1] == d2).all()
    assert (flat(1)[0] != d1).any()


def test_the_middle_of_any_odd_grid_is_no_step_at_all():
    for points in (3, 21, 49):
        for span in (0.3, 0.7, 1.0):
            grid = landscape(lambda: 0.0, [torch.ones(2, 2)], seeded(), span=span, points=points)
            assert grid.positions[points // 2] == 0
            assert (grid.positions[0], grid.positions[-1]) == (-span, span)


def test_alphas_that_are_all_0_have_no_landscape():
    with pytest.raises(UserError, match="all parameters are 0"):
        random_directions([torch.zeros(3), torch.zeros(2)], seeded(), "tensor")


def test_the_parameters_are_restored_to_the_bit_after_an_error_too():
    torch.manual_seed(0)
    net = Supernet(space_builder({"name": "imdn", "num_feat": 8, "num_block": 1}), "imdn").eval()
    x = torch.rand(1, 3, 8, 8)
    before = {key: value.clone() for key, value in net.state_dict().items()}

    def losses():
        loss = net(x).square().mean()
        return {"loss": float(loss), "peak": float(net(x).max())}

    grid = landscape(losses, net.weight_parameters(), seeded(), points=3)
    assert {name: v.shape for name, v in grid.values.items()} == {"loss": (3, 3), "peak": (3, 3)}
    assert grid.values["loss"][1, 1] == net(x).square().mean().item()
    assert len(np.unique(grid.values["loss"])) == 9
    with pytest.raises(ZeroDivisionError):
        landscape(lambda: 1 / 0, net.arch_parameters(), seeded(), "tensor")
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
