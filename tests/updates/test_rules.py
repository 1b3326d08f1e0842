"""Update rules: when the alphas move, on what, and along which gradient."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from srnas import perturbations
from srnas.choice import RELAXATIONS, Space, Supernet
from srnas.choice.pruning import shrink
from srnas.choice.supernet import project
from srnas.distributed import Process
from srnas.engine.stepper import SearchStepper
from srnas.errors import UserError
from srnas.options import check_options
from srnas.perturbations import PERTURBATIONS
from srnas.primitives.sr import SR_PRIMITIVES
from srnas.spaces import space_builder
from srnas.updates import UPDATES
from tests.helpers import search_options

CANDIDATES = ["conv_3x3", "ds_conv_3x3", "conv_5x5_bn"]
SMALL = {"name": "imdn", "num_feat": 8, "num_block": 1, "candidates": CANDIDATES}


class Smooth(Space):
    """Two searched convolutions without a kink between them."""

    def __init__(self, choose):
        super().__init__()
        table = {name: SR_PRIMITIVES[name] for name in CANDIDATES}
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.a = choose.op("a", table, 4, 4)
        self.b = choose.op("b", table, 4, 12)

    def forward(self, x):
        return F.pixel_shuffle(self.b(torch.tanh(self.a(self.head(x)))), 2)


class Recorder:
    """A search that only writes down what its rule asks for."""

    def __init__(self, norms=None):
        self.train_batches = (f"train{i}" for i in range(10**6))
        self.alpha_batches = (f"alpha{i}" for i in range(10**6))
        self.steps, self.step_in_epoch = [], 0
        self.norms = norms

    def weight_step(self, batch, measure=False):
        self.steps.append(f"w {batch}")
        return self.norms if measure else None

    def alpha_step(self, *batches):
        self.steps.append(" ".join(("a", *batches)))

    def joint_step(self, *batches):
        self.steps.append(" ".join(("j", *batches)))


def run(part, steps, norms=None, alpha_moves=True):
    recorder, rule = Recorder(norms), UPDATES.build(part)
    for step in range(steps):
        recorder.step_in_epoch = step
        rule(recorder, alpha_moves)
    return recorder.steps


@pytest.mark.parametrize(("corrected", "expected"), [(False, 11), (True, 10)])
def test_fimts_long_run_ratio_of_weight_to_alpha_steps(corrected, expected):
    steps = run({"name": "fimt", "corrected": corrected}, 30_000, norms=0.7)
    alphas = sum(step.startswith("a") for step in steps)
    assert 30_000 / alphas == pytest.approx(expected, rel=0.01)


def test_fimts_decay_is_the_published_one():
    assert UPDATES.build({"name": "fimt"}).decay == pytest.approx(0.613913, abs=1e-6)
    assert UPDATES.build({"name": "fimt", "corrected": True}).decay == pytest.approx(
        0.64461, abs=1e-5
    )


def test_fimts_average_weighs_the_new_value_with_its_smoothing():
    rule, values = UPDATES.build({"name": "fimt", "smoothing": 0.2}), [5.0, 1.0, 3.0]
    for value in values:
        rule(Recorder(value), True)
    average = 5.0
    for value in values[1:]:
        average = 0.2 * value + 0.8 * average
    assert rule.fisher == pytest.approx(average)
    again = UPDATES.build({"name": "fimt"})
    again.load_state_dict(rule.state_dict())
    assert (again.fisher, again.threshold) == (rule.fisher, rule.threshold)


def test_every_tenth_step_moves_the_alphas_before_the_weights():
    steps = run({"name": "every_n", "n": 10}, 25)
    assert [i for i, step in enumerate(steps) if step.startswith("a")] == [9, 20]
    assert steps[9:11] == ["a alpha0", "w train9"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("single", ["j train0", "j train1"]),
        ("same_subset", ["j train0 train1", "j train2 train3"]),
        ("bilevel", ["j train0 alpha0", "j train1 alpha1"]),
    ],
)
def test_single_level_takes_both_gradients_at_one_point(data, expected):
    part = {"name": "single_level", "data": data}
    assert run(part, 2) == expected
    assert run(part, 1, alpha_moves=False) == ["w train0"]
    assert UPDATES.build(part).pools_images == (data != "bilevel")


def test_nothing_moves_nothing():
    assert run({"name": "nothing"}, 3) == []


def make_state(tmp_path, photo_folder, **changes):
    torch.manual_seed(0)
    options = check_options("search", search_options(tmp_path, photo_folder, **changes), "test")
    state = SearchStepper(options, Process(torch.device("cpu")))
    state.begin(10)
    return state


def test_one_pass_gives_both_gradients_of_the_joint_step(tmp_path, photo_folder):
    state = make_state(tmp_path, photo_folder, update_rule="single_level", regularizers=[])
    batch = next(state.train_batches)
    twin = copy.deepcopy(state.supernet)
    parameters = [*twin.weight_parameters(), *twin.arch_parameters()]
    expected = torch.autograd.grad(state.task.loss(twin, batch), parameters)
    passes = []
    state.supernet.register_forward_hook(lambda *_: passes.append(1))
    state.joint_step(batch)
    assert len(passes) == 1
    stepped = [*state.supernet.weight_parameters(), *state.supernet.arch_parameters()]
    for parameter, gradient in zip(stepped, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert state.train_batches.count == 5, "the alphas' images joined the pool"


def test_a_joint_step_has_no_place_for_a_perturbation(tmp_path, photo_folder):
    with pytest.raises(UserError, match=r"update_rule single_level .* without a perturbation"):
        make_state(tmp_path, photo_folder, update_rule="single_level", perturbation="random")


@pytest.fixture
def second_order():
    """A float64 supernet, a smooth loss, two batches, and an SGD with momentum in motion."""
    torch.manual_seed(0)
    net = Supernet(Smooth, "smooth", alpha_std=0.5).double()
    batches = [tuple(torch.rand(2, 3, s, s, dtype=torch.double) for s in (8, 16)) for _ in range(2)]
    optimizer = torch.optim.SGD(net.weight_parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)

    def loss(network, batch):
        return 20 * (network(batch[0]) - batch[1]).square().mean()

    loss(net, batches[0]).backward(inputs=net.weight_parameters())
    optimizer.step()
    gradients = []
    return SimpleNamespace(
        supernet=net,
        task=SimpleNamespace(loss=loss),
        train_batches=iter([batches[0]]),
        alpha_batches=iter([batches[1]]),
        batches=batches,
        weight_optimizer=optimizer,
        alpha_step_along=gradients.append,
        weight_step=lambda batch: None,
        gradients=gradients,
    )


def unrolled_loss(search, alphas):
    """L_val(w - lr (0.9 m + dL_train/dw + wd w), alpha), written out from the paper."""
    net, (train, val) = search.supernet, search.batches
    weights = {n: p.detach() for n, p in net.named_parameters() if n.startswith("network.")}
    leaves = {n: p.clone().requires_grad_() for n, p in weights.items()}
    named = {f"alphas.{k}": a for k, a in alphas.items()}

    def loss(parameters, batch):
        return search.task.loss(lambda x: functional_call(net, parameters | named, (x,)), batch)

    slopes = torch.autograd.grad(loss(leaves, train), list(leaves.values()))
    moved = {}
    for (name, w), g in zip(weights.items(), slopes, strict=True):
        m = search.weight_optimizer.state[net.get_parameter(name)]["momentum_buffer"]
        moved[name] = w - 0.05 * (0.9 * m + g + 1e-3 * w)
    return loss(moved, val)


def test_the_exact_second_order_gradient_is_that_of_the_unrolled_loss(second_order):
    alphas = {k: a.detach().clone() for k, a in second_order.supernet.alphas.items()}
    UPDATES.build({"name": "unrolled", "gradient": "exact"})(second_order, True)
    (gradients,) = second_order.gradients
    for (label, alpha), gradient in zip(alphas.items(), gradients, strict=True):
        for index in range(len(alpha)):
            sides = []
            for step in (1e-5, -1e-5):
                alpha[index] += step
                sides.append(unrolled_loss(second_order, alphas).item())
                alpha[index] -= step
            slope = (sides[0] - sides[1]) / 2e-5
            assert gradient[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-8), label


def test_the_finite_difference_agrees_and_restores_the_weights_bit_for_bit(second_order):
    state = copy.deepcopy(second_order.supernet.state_dict())
    batches = second_order.batches
    for gradient in ("exact", "finite_difference"):
        second_order.train_batches, second_order.alpha_batches = (
            iter([batches[0]]),
            iter([batches[1]]),
        )
        UPDATES.build({"name": "unrolled", "gradient": gradient})(second_order, True)
        for key, tensor in second_order.supernet.state_dict().items():
            assert torch.equal(tensor, state[key]), key
    exact, approximate = (torch.cat(g) for g in second_order.gradients)
    first = torch.cat(
        torch.autograd.grad(
            second_order.task.loss(second_order.supernet, batches[1]),
            second_order.supernet.arch_parameters(),
        )
    )
    assert (exact - first).norm() > 0.1 * exact.norm(), "the second order does nothing here"
    assert (approximate - exact).norm() < 1e-2 * exact.norm()


def test_random_sampling_takes_the_sample_with_the_least_shared_loss():
    torch.manual_seed(0)
    net = Supernet(
        space_builder(SMALL), "imdn", relaxation=RELAXATIONS.build({"name": "uniform_sample"})
    )
    wanted = {"c1": "ds_conv_3x3", "c2": "conv_3x3", "c3": "conv_5x5_bn", "c4": "conv_3x3"}
    seen = []

    def loss(network, batch):
        choices = network.genotype().choices
        seen.append(choices)
        return torch.tensor(float(sum(choices[k] != v for k, v in wanted.items())))

    search = SimpleNamespace(
        supernet=net, task=SimpleNamespace(loss=loss), alpha_batches=iter(["batch"] * 9)
    )
    UPDATES.build({"name": "random_sampling", "samples": 60, "batches": 2}).finish(search)
    assert len(seen) == 120
    distance = [sum(c[k] != v for k, v in wanted.items()) for c in seen]
    assert net.genotype().choices == seen[distance.index(min(distance))]
    assert net.training


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_stays_in_its_range_and_is_gone_after_the_step(name):
    torch.manual_seed(0)
    net = Supernet(space_builder(SMALL), "imdn", alpha_std=1.0)
    x = torch.rand(1, 3, 8, 8)
    p = {k: v.detach() for k, v in net.probabilities().items()}
    perturb = PERTURBATIONS.build({"name": name})
    plain = net(x)
    for progress, epsilon in ((0.0, 0.03), (0.5, 0.165), (1.0, 0.3)):
        deltas = perturb(net, lambda: net(x).square().mean(), progress)
        largest = max(d.abs().max().item() for d in deltas.values())
        # the adversary's p + delta is divided by its sum, which can be below 1
        assert 0.5 * epsilon < largest <= epsilon * (1 + 1e-6 if name == "random" else 2)
        seen = {}
        op = net.network.blocks[0].c1
        op.register_forward_pre_hook(lambda m, _, s=seen: s.update(m.shared.weights))
        with net.perturbed(deltas):
            net(x)
        for label in net.choices.competing:
            moved = (p[label] + deltas[label]).clamp(0, 1)
            torch.testing.assert_close(seen[label], moved / moved.sum())
    assert torch.equal(net(x), plain)


def test_a_projection_that_clips_every_weight_to_zero_keeps_the_largest():
    # Network.clip in SmoothDARTS' sota/cnn/model_search.py: clamp, the largest becomes 1 if all
    # are 0, division by the sum
    alive = torch.tensor([True, True, True, False])
    for moved, expected in (
        ([-0.3, -0.1, -0.2, 0.0], [0, 1, 0, 0]),
        ([0.5, -0.2, 0.3, 0.9], [0.625, 0, 0.375, 0]),
        ([1.5, 0.25, -1.0, 0.0], [0.8, 0.2, 0, 0]),
    ):
        assert project(torch.tensor(moved), alive).tolist() == pytest.approx(expected)


def test_a_perturbation_does_not_revive_dropped_candidates():
    net = Supernet(space_builder(SMALL), "imdn", alpha_std=1.0)
    shrink(net, 2)
    seen = {}
    net.network.blocks[0].c1.register_forward_pre_hook(lambda m, _: seen.update(m.shared.weights))
    with net.perturbed({label: torch.full((3,), 0.3) for label in net.choices.competing}):
        net(torch.rand(1, 3, 8, 8))
    for label, weights in seen.items():
        assert weights.nonzero().flatten().tolist() == net.alive[label]
        assert weights.sum().item() == pytest.approx(1)


def attacked(loss, p, start, epsilon, steps=7) -> list[float]:
    """Attack p by hand: attacker/perturb.py of SmoothDARTS, for a loss with a known gradient.

    `loss` returns the value and dL/dp; `start` is the random start.
    """

    def projection(row):
        row = [min(max(v, 0.0), 1.0) for v in row]
        return [v / sum(row) for v in row]

    now = projection([a + b for a, b in zip(p, start, strict=True)])
    for _ in range(steps):
        _, gradient = loss(now)
        now = [v + 2 * epsilon / steps * (g > 0) - 2 * epsilon / steps * (g < 0)
               for v, g in zip(now, gradient, strict=True)]  # fmt: skip
        now = [min(max(v - a, -epsilon), epsilon) + a for v, a in zip(now, p, strict=True)]
        now = projection(now)
    return p if loss(p)[0] > loss(now)[0] else now


@pytest.mark.parametrize("kind", ["linear", "peak", "saddle"])
def test_the_adversary_is_the_released_attack(monkeypatch, kind):
    # A loss of the weights themselves. At the "peak" any step lowers it, so there is no attack.
    torch.manual_seed(0)
    net = Supernet(space_builder(SMALL), "imdn", alpha_std=1.0)
    label = next(iter(net.choices.competing))
    p = net.probabilities()[label].detach()
    slope = torch.tensor([0.7, -1.0, 0.4])

    def of(w):  # loss and its gradient
        if kind == "linear":
            return (slope * w).sum(), slope
        peak = kind == "peak"
        curve = -torch.ones(3) if peak else torch.tensor([1.0, -2.0, 0.5])
        gap = w - (p if peak else torch.tensor([0.9, -0.5, 0.05]))
        return (curve * gap.square()).sum(), 2 * curve * gap

    def loss():
        return of(net._replaced[label])[0]

    start = {k: 0.1 * torch.linspace(-1, 1, 3) for k in net.choices.competing}
    monkeypatch.setattr(perturbations, "_uniform", lambda *_: start)
    delta = PERTURBATIONS.build({"name": "adversarial"})(net, loss, 0.5)[label]
    expected = attacked(
        lambda row: (of(torch.tensor(row))[0].item(), of(torch.tensor(row))[1].tolist()),
        p.tolist(),
        start[label].tolist(),
        0.165,
    )
    assert (p + delta).tolist() == pytest.approx(expected, abs=1e-6)
    assert (delta.abs().max() == 0) == (kind == "peak")


def test_the_adversary_leaves_running_statistics_and_the_mode_alone():
    torch.manual_seed(0)
    net = Supernet(space_builder({**SMALL, "candidates": None}), "imdn", alpha_std=1.0).train()
    x = torch.rand(2, 3, 8, 8)
    before = {name: b.clone() for name, b in net.named_buffers()}
    assert any("running_mean" in name for name in before)
    PERTURBATIONS.build({"name": "adversarial"})(net, lambda: net(x).mean(), 1.0)
    assert net.training
    assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())


def test_the_adversary_raises_the_loss_more_than_noise_does():
    torch.manual_seed(0)
    net = Supernet(space_builder(SMALL), "imdn", alpha_std=1.0).eval()
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)

    def loss():
        return (net(x) - y).square().mean()

    losses = {}
    for name in PERTURBATIONS:
        values = []
        for _ in range(5):
            with net.perturbed(PERTURBATIONS.build({"name": name})(net, loss, 1.0)):
                values.append(loss().item())
        losses[name] = min(values) if name == "adversarial" else max(values)
    assert losses["adversarial"] > losses["random"]


def clipped_moves(state, parameters, step):
    """How far parameters move for the loss 0.1 * sum(weights) + 4 * sum(alphas), with lr 1."""
    weights, alphas = state.supernet.weight_parameters(), state.supernet.arch_parameters()
    state.loss = lambda batch: (
        0.1 * sum(p.sum() for p in weights) + 4 * sum(a.sum() for a in alphas)
    )
    before = [p.detach().clone() for p in parameters]
    step(None)
    return torch.cat(
        [(old - new.detach()).flatten() for old, new in zip(before, parameters, strict=True)]
    )


PLAIN = {"name": "sgd", "lr": 1.0, "momentum": 0.0}


@pytest.mark.parametrize("scope", ["weights", "weights_and_alphas"])
def test_the_norm_that_clips_the_weights_is_over_what_the_release_clips(
    scope, tmp_path, photo_folder
):
    # DARTS' cnn/train_search.py clips model.parameters(), without its alphas, which are no
    # nn.Parameter; in DrNAS' 201-space/train_search.py the same call takes them in.
    clipping = {"clip_grad_norm": 0.5, "clip_grad_scope": scope}
    state = make_state(tmp_path, photo_folder, weight_optimizer=PLAIN, **clipping)
    weights, alphas = state.supernet.weight_parameters(), state.supernet.arch_parameters()
    n, m = (sum(p.numel() for p in group) for group in (weights, alphas))
    norm = (0.1**2 * n + (4**2 * m if scope == "weights_and_alphas" else 0)) ** 0.5
    moves = clipped_moves(state, weights, state.weight_step)
    torch.testing.assert_close(moves, torch.full_like(moves, 0.1 * 0.5 / norm), rtol=1e-3, atol=0)
    assert clipped_moves(state, alphas, state.weight_step).abs().max() == 0, "only the weights move"


def test_the_alphas_own_gradient_is_clipped_to_its_own_norm(tmp_path, photo_folder):
    # train_search_imagenet.py of PC-DARTS: clip_grad_norm_(arch_parameters(), 5) before its step
    clipping = {"clip_alpha_grad_norm": 0.5, "clip_grad_norm": 1e-6}
    state = make_state(tmp_path, photo_folder, regularizers=[], alpha_optimizer=PLAIN, **clipping)
    alphas = state.supernet.arch_parameters()
    norm = 4 * sum(a.numel() for a in alphas) ** 0.5
    moves = clipped_moves(state, alphas, state.alpha_step)
    torch.testing.assert_close(moves, torch.full_like(moves, 4 * 0.5 / norm), rtol=1e-3, atol=0)
