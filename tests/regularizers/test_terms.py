"""Every regularizer against closed forms and finite differences."""

import math

import pytest
import torch
from torch import nn

from srnas.choice import RELAXATIONS, Supernet
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
    {"name": "expected_cost", "cost": "true_io", "target": 1e4},
    {"name": "zero_one"},
    {"name": "zero_one", "power": 1},
    {"name": "dirichlet_kl"},
    {"name": "proximity"},
    {"name": "proximity", "norm": "l2sq"},
    {"name": "admm", "norm": "l2sq"},
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
    if part["name"] == "admm":  # it starts where the alphas are, without a pull
        term.load_state_dict(
            {
                name: {k: torch.rand(N, dtype=torch.double) for k in supernet.alphas}
                for name in ("z", "u")
            }
            | {"count": 0}
        )
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
        ratios = term.costs(supernet.choices.competing[label])
        for name, cost in costs.items():
            expected = cost / costs["conv_3x3"]
            for variant in (name, f"{name}_bn", f"dil_{name}" if "ds" in name else name):
                assert ratios[names.index(variant)].item() == pytest.approx(expected, rel=2e-4)


def test_true_costs_use_the_real_channels(supernet):
    # c4, 48 -> 16: conv3 6912, ds3 1200 MACs a pixel
    position = supernet.choices.competing["c4"]
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


@pytest.mark.parametrize("target", [200_000.0, 50_000.0])
def test_a_target_is_exceeded_by_a_share_of_it(supernet, target):
    with torch.no_grad():
        for alpha in supernet.arch_parameters():
            alpha.copy_(-1e3 * (torch.arange(N) != list(SR_PRIMITIVES).index("conv_3x3")))
    given = {"name": "expected_cost", "cost": "true_io", "target": target}
    expected = max(0.0, 9 * (64 * 64 + 2 * 48 * 64 + 48 * 16) / target - 1)
    assert REGULARIZERS.build(given)(supernet).item() == pytest.approx(expected)


def test_the_flops_penalty_has_a_gradient_unless_it_is_detached(supernet):
    attached = REGULARIZERS.build({"name": "expected_cost"})(supernet)
    detached = REGULARIZERS.build({"name": "expected_cost", "detach": True})(supernet)
    assert attached.requires_grad
    assert not detached.requires_grad
    assert attached.item() == detached.item()


def test_zero_one_is_its_closed_form(supernet):
    s = torch.sigmoid(torch.stack(supernet.arch_parameters())) - 0.5
    for power, expected in ((2, -(s**2).mean()), (1, -s.abs().mean())):
        term = REGULARIZERS.build({"name": "zero_one", "power": power})
        assert term(supernet).item() == pytest.approx(expected.item())


def test_zero_one_is_one_mean_over_both_kinds_of_cells():
    # fairdarts/separate_loss.py: MSE to 1/2 of the concatenated 2 x 14 rows, by sign and factor
    cells = Supernet(space_builder({"name": "darts", "num_feat": 2, "num_cell": 3}), "darts")
    rows = torch.cat([matrix.detach() for matrix in cells.alpha_matrices()])
    assert rows.shape == (28, 8)
    weights = rows.sigmoid()
    expected = -nn.functional.mse_loss(weights, torch.full_like(weights, 0.5))
    assert REGULARIZERS.build("zero_one")(cells).item() == pytest.approx(expected.item())
    with torch.no_grad():  # by hand: 14 of the 28 rows at sigmoid 0.9, the others at 1/2
        for place, alpha in cells.alphas.items():
            alpha.fill_(math.log(9) if place.startswith("normal") else 0)
    value = REGULARIZERS.build("zero_one")(cells).item()
    assert value == pytest.approx(-(0.4**2) / 2, rel=1e-5)


def test_dirichlet_kl_is_its_closed_form(supernet):
    from scipy.special import digamma, gammaln

    total = 0.0
    for alpha in supernet.arch_parameters():
        c = nn.functional.elu(alpha.detach()).numpy() + 1
        total += gammaln(c.sum()) - gammaln(N) - gammaln(c).sum()
        total += ((c - 1) * (digamma(c) - digamma(c.sum()))).sum()
    term = REGULARIZERS.build({"name": "dirichlet_kl"})
    assert term(supernet).item() == pytest.approx(total)


@pytest.mark.parametrize("norm", ["l2", "l2sq"])
def test_proximity_is_half_the_distance_to_the_rows_largest(supernet, norm):
    p = torch.softmax(torch.stack(supernet.arch_parameters()), dim=1).detach()
    square = 0.0
    for row in p:
        target = torch.zeros(N, dtype=torch.double)
        target[row.argmax()] = 1
        square += (row - target).square().sum().item()
    expected = math.sqrt(square) / 2 if norm == "l2" else square / 2
    term = REGULARIZERS.build({"name": "proximity", "norm": norm})
    assert term(supernet).item() == pytest.approx(expected)


def test_proximity_of_a_genotype_to_itself_is_zero_with_a_finite_gradient():
    crb = RELAXATIONS.build({"name": "crb"})
    net = Supernet(space_builder({"name": "imdn", "num_feat": 8}), "imdn", relaxation=crb)
    with torch.no_grad():
        for alpha in net.arch_parameters():
            alpha.zero_()[3] = 1
    value = REGULARIZERS.build({"name": "proximity"})(net)
    assert value.item() == 0
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(value, net.arch_parameters()))


def test_admm_follows_its_equations_step_by_step(supernet):
    term = REGULARIZERS.build({"name": "admm", "every": 2, "discount": 0.8, "norm": "l2sq"})
    generator = torch.Generator().manual_seed(0)
    z = u = None
    for step in range(1, 7):
        with torch.no_grad():
            for alpha in supernet.arch_parameters():
                alpha += torch.randn(N, generator=generator, dtype=torch.double)
        p = torch.softmax(torch.stack(supernet.arch_parameters()), dim=1).detach()
        z, u = (p, torch.zeros_like(p)) if z is None else (z, u)
        assert term(supernet).item() == pytest.approx(((p - z + u) ** 2).sum().item() / 2)
        term.alphas_moved(supernet)
        if step % 2 == 0:
            z = nn.functional.one_hot((p + u).argmax(1), N).double()
            u = 0.8 * u + p - z
    again = REGULARIZERS.build({"name": "admm", "every": 2, "norm": "l2sq"})
    again.load_state_dict(term.state_dict())
    assert again(supernet).item() == term(supernet).item()


SPACES_AT_SMALL = [
    {"name": "imdn", "num_feat": 8, "num_block": 1},
    {"name": "dlsr", "num_feat": 8, "num_cell": 5},
    {"name": "nasbench201", "num_feat": 2, "num_cell": 1},
    {"name": "darts", "num_feat": 2, "num_cell": 3},
]


@pytest.mark.parametrize("space", SPACES_AT_SMALL, ids=lambda s: s["name"])
def test_the_projection_is_idempotent_and_the_one_that_derivation_takes(space):
    torch.manual_seed(0)
    net = Supernet(space_builder(space), space["name"], alpha_std=1.0)
    once = net.choices.project(net.strengths())
    twice = net.choices.project(once)
    assert all(torch.equal(once[k], twice[k]) for k in once)
    ones = {
        label: list(position.candidates)[int(once[label].argmax())]
        for label, position in net.choices.competing.items()
        if once[label].any()
    }
    assert ones == net.choices.chosen(net.choices.strongest(net.strengths()))
    assert all(once[k].sum() in (0, 1) for k in net.choices.competing)
    if space["name"] == "darts":
        chosen = [
            pair for cell in net.genotype().choices.values() for node in cell for pair in node
        ]
        assert len(ones) == len(chosen) == 16
        assert "none" not in ones.values()
    if space["name"] == "dlsr":
        for label in ("link4", "link5"):
            picked = (once[label] == 0.5).nonzero().flatten() + 1
            assert sorted(net.genotype().choices[label]) == picked.tolist()
        torch.testing.assert_close(once["link3"], net.strengths()["link3"].detach())
