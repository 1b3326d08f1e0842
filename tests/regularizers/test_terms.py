"""Every regularizer against closed forms and finite differences."""

import math

import pytest
import torch
from torch import nn

from srnas.choice import Supernet
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.regularizers import REGULARIZERS
from srnas.regularizers.smooth_activation import smooth_maximum_unit
from srnas.spaces import space_builder

E, N = 4, 12
TERMS = [
    {"name": "smooth_activation"},
    {"name": "smooth_activation", "a": 0.25, "mu": 1e6},
    {"name": "smooth_activation", "a": 0.0, "reduce": "global_mean"},
    {"name": "beta_decay"},
    {"name": "l2"},
    {"name": "expected_cost"},
    {"name": "expected_cost", "cost": "true_io", "norm": "max"},
    {"name": "expected_cost", "cost": "true_io", "norm": "baseline"},
]


@pytest.fixture
def supernet():
    torch.manual_seed(1)
    space = {"name": "imdn", "num_feat": 64, "num_block": 1}
    return Supernet(space_builder(space), "imdn", alpha_std=1.0).double()


def gradients(supernet, term):
    return torch.stack(torch.autograd.grad(term(supernet), supernet.arch_parameters()))


@pytest.mark.parametrize("part", TERMS, ids=lambda p: "-".join(map(str, p.values())))
def test_the_gradient_agrees_with_finite_differences(supernet, part):
    term, step = REGULARIZERS.build(part), 1e-6
    exact = gradients(supernet, term)
    numeric = torch.zeros_like(exact)
    with torch.no_grad():
        for row, alpha in enumerate(supernet.arch_parameters()):
            for index in range(N):
                alpha[index] += step
                above = term(supernet)
                alpha[index] -= 2 * step
                numeric[row, index] = (above - term(supernet)) / (2 * step)
                alpha[index] += step
    assert exact.abs().sum() > 0
    torch.testing.assert_close(exact, numeric, rtol=1e-5, atol=1e-8)


def test_smu_has_gelu_leaky_relu_and_identity_as_limits():
    x = torch.linspace(-5, 5, 101, dtype=torch.double)
    gelu = smooth_maximum_unit(x, 0.0, math.sqrt(0.5))
    torch.testing.assert_close(gelu, nn.functional.gelu(x))
    lowest = smooth_maximum_unit(torch.tensor(-0.7518), 0.0, math.sqrt(0.5))
    assert lowest.item() == pytest.approx(-0.16997, abs=1e-5)
    leaky = smooth_maximum_unit(x, 0.25, 1e6)
    torch.testing.assert_close(leaky, nn.functional.leaky_relu(x, 0.25))
    assert smooth_maximum_unit(torch.tensor(-2.0), 0.25, 1e6).item() == pytest.approx(-0.5)
    for mu in (0.0, 0.7, 1e6):
        assert torch.equal(smooth_maximum_unit(x, 1.0, mu), x)


@pytest.mark.parametrize("a", [0.0, 0.25, 0.75])
def test_smu_slopes_are_those_of_the_paper(a):
    x = torch.tensor([-50.0, 0.0, 50.0], dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_maximum_unit(x, a, 2.0).sum(), x)
    assert slope.tolist() == pytest.approx([a, (1 + a) / 2, 1])


def test_smu_stays_finite_for_half_precision_logits():
    x = torch.tensor([-3.0, 3.0], dtype=torch.float16)
    assert smooth_maximum_unit(x, 0.25, 1e6).tolist() == pytest.approx([-0.75, 3.0])


def test_equation_8_adds_one_constant_to_every_logit(supernet):
    gradient = gradients(supernet, REGULARIZERS.build({"name": "smooth_activation"}))
    assert torch.equal(gradient, torch.full_like(gradient, 1 / (N * E)))


def alphas_after(regularized, make_optimizer, steps=50):
    """Probabilities after descending a fixed loss, with or without Eq. 8."""
    torch.manual_seed(3)
    space = {"name": "imdn", "num_feat": 8, "num_block": 1}
    supernet = Supernet(space_builder(space), "imdn", alpha_std=1.0).double()
    term = REGULARIZERS.build({"name": "smooth_activation"})
    slopes = [torch.randn(N, dtype=torch.double) for _ in range(E)]
    optimizer = make_optimizer(supernet.arch_parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        p = supernet.probabilities().values()
        loss = sum((slope * row).sum() for slope, row in zip(slopes, p, strict=True))
        if regularized:
            loss = loss + 5.0 * term(supernet)
        loss.backward()
        optimizer.step()
    return torch.stack(list(supernet.probabilities().values())).detach()


def test_with_sgd_equation_8_leaves_the_probabilities_alone_and_with_adam_it_does_not():
    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)

    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.1)

    torch.testing.assert_close(alphas_after(True, sgd), alphas_after(False, sgd), rtol=0, atol=1e-6)
    assert (alphas_after(True, adam) - alphas_after(False, adam)).abs().max() > 1e-2


def test_beta_decays_gradient_is_p_over_e_and_its_rows_sum_to_one_over_e(supernet):
    gradient = gradients(supernet, REGULARIZERS.build({"name": "beta_decay"}))
    p = torch.stack([torch.softmax(a, 0) for a in supernet.arch_parameters()])
    torch.testing.assert_close(gradient, p / E)
    torch.testing.assert_close(gradient.sum(1), torch.full((E,), 1 / E, dtype=torch.double))


def test_l2_is_adams_coupled_weight_decay(supernet):
    decay, twin = 0.01, [a.detach().clone().requires_grad_() for a in supernet.arch_parameters()]
    term = REGULARIZERS.build({"name": "l2"})
    ours = torch.optim.Adam(supernet.arch_parameters(), lr=0.1)
    theirs = torch.optim.Adam(twin, lr=0.1, weight_decay=decay)
    for _ in range(5):
        ours.zero_grad()
        (decay * term(supernet)).backward()
        ours.step()
        for alpha in twin:
            alpha.grad = torch.zeros_like(alpha)
        theirs.step()
    for alpha, other in zip(supernet.arch_parameters(), twin, strict=True):
        torch.testing.assert_close(alpha, other)


def test_nominal_costs_are_those_of_the_paper_at_1280x720(supernet):
    # giga-MACs at C = 64 and 48
    published = {
        "c1": {"conv_3x3": 33.974, "conv_5x5": 94.372, "ds_conv_3x3": 4.306, "ds_conv_5x5": 5.249},
        "c4": {"conv_3x3": 19.110, "conv_5x5": 53.084, "ds_conv_3x3": 2.521, "ds_conv_5x5": 3.229},
    }
    term = REGULARIZERS.build({"name": "expected_cost", "norm": "baseline"})
    names = list(SR_PRIMITIVES)
    for label, costs in published.items():
        ratios = term.costs(supernet.positions[label])
        for name, cost in costs.items():
            expected = cost / costs["conv_3x3"]
            for variant in (name, f"{name}_bn", f"dil_{name}" if "ds" in name else name):
                assert ratios[names.index(variant)].item() == pytest.approx(expected, rel=2e-4)


def test_true_costs_use_the_real_channels(supernet):
    # c4, 48 -> 16: conv3 6912, ds3 1200 MACs a pixel
    position = supernet.positions["c4"]
    assert SR_PRIMITIVES["conv_3x3"].macs_per_pixel(48, 16) == 6912
    assert SR_PRIMITIVES["ds_conv_3x3"].macs_per_pixel(48, 16) == 1200
    term = REGULARIZERS.build({"name": "expected_cost", "cost": "true_io", "norm": "baseline"})
    index = list(SR_PRIMITIVES).index("ds_conv_3x3")
    assert term.costs(position)[index].item() == pytest.approx(1200 / 6912)


def test_costs_scaled_by_their_sum_give_one_over_n_for_equal_probabilities(supernet):
    with torch.no_grad():
        for alpha in supernet.arch_parameters():
            alpha.zero_()
    term = REGULARIZERS.build({"name": "expected_cost"})
    assert term(supernet).item() == pytest.approx(E / N)


def test_the_flops_penalty_has_a_gradient_unless_it_is_detached(supernet):
    attached = REGULARIZERS.build({"name": "expected_cost"})(supernet)
    detached = REGULARIZERS.build({"name": "expected_cost", "detach": True})(supernet)
    assert attached.requires_grad
    assert not detached.requires_grad
    assert attached.item() == detached.item()
