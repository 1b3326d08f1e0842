"""Relaxations against closed forms and known distributions."""

import math

import pytest
import torch
from torch import nn

from srnas.choice import RELAXATIONS, RelaxedBuilder, Supernet
from srnas.choice.mixed_op import MixedOp
from srnas.choice.pruning import prune, shrink
from srnas.distributed import Process
from srnas.engine.stepper import SearchStepper
from srnas.fast import plain
from srnas.fast.merging import mergeable
from srnas.options import check_options
from srnas.primitives.darts import DARTS_PRIMITIVES
from srnas.spaces import space_builder
from tests.helpers import class_options

SMALL = {"name": "imdn", "num_feat": 8, "num_block": 1, "candidates": ["conv_3x3", "ds_conv_3x3"]}
ALPHA = torch.tensor([0.7, -0.4, 0.1, 1.2])
DRAWS = 20_000


def draws(name, count=DRAWS, **options):
    torch.manual_seed(0)
    relaxation = RELAXATIONS.build({"name": name, **options})
    return torch.stack([relaxation(ALPHA, True) for _ in range(count)])


def supernet(name, alpha_std=1e-3, **options):
    torch.manual_seed(0)
    relaxation = RELAXATIONS.build({"name": name, **options})
    return Supernet(space_builder(SMALL), "imdn", relaxation=relaxation, alpha_std=alpha_std)


@pytest.mark.parametrize("name", ["gumbel_softmax", "straight_through"])
def test_the_largest_of_gumbel_perturbed_logits_is_drawn_with_its_softmax_probability(name):
    seen = torch.bincount(draws(name).argmax(1), minlength=4) / DRAWS
    torch.testing.assert_close(seen, torch.softmax(ALPHA, 0), rtol=0, atol=0.015)


def test_gumbel_softmax_samples_sum_to_one_and_harden_as_it_cools():
    warm, cold = (draws("gumbel_softmax", 500, temperature=t) for t in (10, 0.05))
    for sample in (warm, cold):
        torch.testing.assert_close(sample.sum(1), torch.ones(500))
    assert warm.max(1).values.mean() < 0.4
    assert cold.max(1).values.mean() > 0.95


@pytest.mark.parametrize("epochs", [1, 50, 250])
def test_temperatures_are_those_of_the_released_schedules(tmp_path, epochs):
    # GDAS: exps/NAS-Bench-201-algos/GDAS.py of AutoDL-Projects divides by E - 1 and ends at
    # tau_min. SNAS: 201-space/train_search.py of DrNAS adds (tau_min - tau_max) / E an epoch.
    schedules = {"straight_through": (max(1, epochs - 1), 0.1), "gumbel_softmax": (epochs, 1)}
    for name, (last, least) in schedules.items():
        content = class_options(tmp_path, epochs=epochs, steps_per_epoch=1, relaxation=name)
        stepper = SearchStepper(
            check_options("search", content, "test"), Process(torch.device("cpu"))
        )
        for epoch in {0, 1, epochs // 2, epochs - 1} - {epochs}:
            stepper.begin(epoch)
            expected = 10 - (10 - least) * epoch / last
            assert stepper.supernet.relaxation.tau == pytest.approx(expected), (name, epoch)


def test_straight_through_is_one_hot_with_the_gradient_of_its_softmax():
    torch.manual_seed(3)
    relaxation = RELAXATIONS.build({"name": "straight_through", "temperature": 2})
    alpha = ALPHA.clone().requires_grad_()
    state = torch.get_rng_state()
    w = relaxation(alpha, True)
    assert sorted(w.tolist()) == pytest.approx([0, 0, 0, 1], abs=1e-6)
    (gradient,) = torch.autograd.grad(w[1], alpha)
    torch.set_rng_state(state)
    noise = -torch.empty(4).exponential_().log()
    p = torch.softmax((ALPHA + noise) / 2, 0)
    expected = p[1] * (torch.eye(4)[1] - p) / 2  # of a softmax at temperature 2
    torch.testing.assert_close(gradient, expected)


def test_dirichlet_samples_have_its_mean_and_variance():
    c = torch.nn.functional.elu(ALPHA) + 1
    mean = c / c.sum()
    variance = mean * (1 - mean) / (c.sum() + 1)
    sample = draws("dirichlet")
    torch.testing.assert_close(sample.mean(0), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(sample.var(0), variance, rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("name", "count", "start", "weight"),
    [
        ("sigmoid", 5, -1.3863, 1 / 5),
        ("sigmoid", 8, -1.9459, 1 / 8),
        ("crb", 7, 1 / 7, 1 / 7),
        ("softmax", 9, 0, 1 / 9),
    ],
)
def test_every_candidate_starts_with_one_nth(name, count, start, weight):
    relaxation = RELAXATIONS.build({"name": name})
    assert relaxation.initial(count) == pytest.approx(start, abs=5e-5)
    w = relaxation(torch.full((count,), relaxation.initial(count)), True)
    assert w.tolist() == pytest.approx([weight] * count, abs=1e-6)


def test_fairdarts_starts_at_one_half():
    relaxation = RELAXATIONS.build({"name": "sigmoid", "start": "zero"})
    assert relaxation(torch.full((7,), relaxation.initial(7)), True).tolist() == [0.5] * 7


def calls(net, x):
    """How often each candidate is run in a pass."""
    seen = {}

    def count(name):
        def hook(*_):
            seen[name] = seen.get(name, 0) + 1

        return hook

    mixed = [m for m in net.modules() if isinstance(m, MixedOp)]
    handles = []
    for op in mixed:
        for name, candidate in op.candidates.items():
            handles.append(candidate.register_forward_hook(count(f"{op.label}/{name}")))
    with plain():
        net(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["straight_through", "uniform_sample"])
def test_only_the_sampled_candidate_is_run_at_each_position(name):
    net = supernet(name)
    x = torch.rand(1, 3, 8, 8)
    seen = calls(net, x)
    assert {label.split("/")[0] for label in seen} == {"c1", "c2", "c3", "c4"}
    assert list(seen.values()) == [1] * 4
    assert len(calls(supernet("softmax"), x)) == 8


def test_crbs_dropped_candidates_are_not_computed_stay_dead_and_are_not_chosen():
    net = supernet("crb", alpha_std=0)
    x = torch.rand(1, 3, 8, 8)
    assert len(calls(net, x)) == 8
    with torch.no_grad():
        net.alphas["c2"].copy_(torch.tensor([-0.01, 0.3]))
        net.alphas["c3"].copy_(torch.tensor([-0.02, -0.01]))
    prune(net)
    assert net.alive["c2"] == [1]
    assert net.alive["c3"] == [1], "the last one stays"
    assert len(calls(net, x)) == 6
    with torch.no_grad():
        net.alphas["c2"].copy_(torch.tensor([0.9, 0.3]))  # momentum may lift it again
    assert "c2/conv_3x3" not in calls(net, x)
    assert net.genotype().choices["c2"] == "ds_conv_3x3"
    assert net.probabilities()["c2"].tolist() == [0, 1]
    again = supernet("crb", alpha_std=0)
    again.load_state_dict(net.state_dict())
    assert again.alive == net.alive


def test_merged_kernels_shrink_with_the_candidates_that_are_left():
    torch.manual_seed(0)
    net = Supernet(space_builder({**SMALL, "candidates": None}), "imdn", alpha_std=1.0).double()
    shrink(net, 4)
    op = net.network.blocks[0].c1
    assert len(net.alive["c1"]) == 4
    x = torch.rand(1, 3, 9, 9, dtype=torch.double)
    together = net(x)
    with plain():
        torch.testing.assert_close(net(x), together)
    names = [list(op.candidates)[i] for i in net.alive["c1"]]
    merged, size = mergeable(op.primitives, names)
    assert all(op.primitives[name].linear_size <= size for name in merged)


def test_shrinking_keeps_the_strongest_and_renormalizes_them():
    torch.manual_seed(0)
    net = Supernet(space_builder({**SMALL, "candidates": None}), "imdn", alpha_std=1.0)
    before = {label: row.detach().clone() for label, row in net.probabilities().items()}
    shrink(net, 3)
    for label, p in net.probabilities().items():
        top = before[label].topk(3)
        assert sorted(net.alive[label]) == sorted(top.indices.tolist())
        torch.testing.assert_close(p[top.indices], top.values / top.values.sum())
        assert p.sum().item() == pytest.approx(1)


def test_darts_minus_adds_its_input_with_a_weight_that_fades():
    torch.manual_seed(0)
    net = Supernet(space_builder(SMALL), "imdn", choose=RelaxedBuilder(auxiliary_skip=True))
    op = net.network.blocks[0].c1
    x = torch.rand(1, 8, 6, 6)
    op.shared.weights = net.probabilities()
    outputs = {}
    for beta in (0.0, 0.75):
        net.set_progress(0.5, beta)
        outputs[beta] = op(x)
    torch.testing.assert_close(outputs[0.75] - outputs[0.0], 0.75 * x)
    assert isinstance(net.network.blocks[0].c4.auxiliary_skip, nn.Conv2d), "its channels change"


def test_darts_minus_halves_with_a_factorized_reduction():
    # MixedOp in src/search/model_search.py of DARTS-: FactorizedReduce(C, C, affine=False), that
    # is BN(cat(conv1(relu(x)), conv2(relu(x) one pixel down and right))), 1x1 kernels, stride 2
    torch.manual_seed(0)
    choose = RelaxedBuilder(auxiliary_skip=True)
    op = choose.op("e", DARTS_PRIMITIVES, 4, 4, stride=2)
    x = torch.randn(2, 4, 6, 6)
    op.shared.weights = {"e": torch.zeros(len(DARTS_PRIMITIVES))}
    op.shared.skip_weight = 0.5
    first, second, _ = op.auxiliary_skip.children()
    positive = x.clamp(min=0)
    pixels = torch.cat(
        [
            torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], positive[:, :, at::2, at::2])
            for at, conv in enumerate((first, second))
        ],
        dim=1,
    )
    centred = pixels - pixels.mean((0, 2, 3), keepdim=True)
    spread = (pixels.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(op(x), 0.5 * centred / spread)


def test_drnas_ranks_edges_by_softmax_and_not_by_the_mean():
    # Network.genotype in DARTS-space/model_search.py of DrNAS ranks edges by softmax(alpha). By the
    # mean of the Dirichlet, with concentration elu(alpha) + 1, the second edge would be ahead.
    edges = {"e1": torch.tensor([2.0, 0.6, 1.1]), "e2": torch.tensor([0.1, -0.8, -0.6])}
    relaxation = RELAXATIONS.build({"name": "dirichlet"})
    strongest = [relaxation.strengths(alpha).max().item() for alpha in edges.values()]
    assert strongest == pytest.approx([0.6049, 0.5254], abs=1e-4)
    means = [relaxation.probabilities(alpha).max().item() for alpha in edges.values()]
    assert means == pytest.approx([0.4478, 0.5243], abs=1e-4)


def test_sampling_stops_in_evaluation_mode():
    for name in RELAXATIONS:
        relaxation = RELAXATIONS.build({"name": name})
        assert torch.equal(relaxation(ALPHA, False), relaxation(ALPHA, False)), name


def test_sigmoids_are_ranked_as_they_are_and_reported_as_shares():
    relaxation = RELAXATIONS.build({"name": "sigmoid"})
    s = [1 / (1 + math.exp(-a)) for a in ALPHA.tolist()]
    assert relaxation.strengths(ALPHA).tolist() == pytest.approx(s)
    assert relaxation.probabilities(ALPHA).tolist() == pytest.approx([v / sum(s) for v in s])
