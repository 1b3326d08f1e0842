"""Kinds of choices: widths and depths against networks of the grid, and one contract for all."""

from itertools import product
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srnas.choice import DerivedBuilder, Place, RelaxedBuilder, Space, Supernet, WidthChoice
from srnas.choice.inherit import inherited
from srnas.errors import UserError
from srnas.primitives.sr import SR_PRIMITIVES

WIDTHS, DEPTHS = (2, 3, 6), (0, 1, 3)
OPS = {name: SR_PRIMITIVES[name] for name in ("conv_3x3", "conv_5x5")}
GRID = list(product(WIDTHS, WIDTHS, DEPTHS, OPS))


class Net(Space):
    """A stream and a hidden layer of searched widths, a searched depth, a searched operation."""

    task: ClassVar[str] = "super_resolution"

    def __init__(self, choose):
        super().__init__()
        self.stream, self.hidden = choose.width("stream", WIDTHS), choose.width("hidden", WIDTHS)
        self.depth = choose.depth("depth", DEPTHS)
        stream, hidden = self.stream.channels, self.hidden.channels
        self.head = nn.Conv2d(3, stream, 3, padding=1)
        self.op = choose.op("op", OPS, stream, stream)
        self.up = nn.ModuleList(nn.Conv2d(stream, hidden, 1) for _ in range(self.depth.count))
        self.down = nn.ModuleList(nn.Conv2d(hidden, stream, 3, padding=1) for _ in self.up)
        self.tail = nn.Conv2d(stream, 3, 3, padding=1)

    def block(self, up, down):
        return lambda x: x + self.stream(down(self.hidden(F.silu(up(x)))))

    def forward(self, x):
        x = self.stream(self.op(self.stream(F.silu(self.head(x)))))
        blocks = [self.block(up, down) for up, down in zip(self.up, self.down, strict=True)]
        return self.tail(self.depth(x, blocks))


LABELS = ("stream", "hidden", "depth", "op")


def supernet(alpha_std=1.0):
    torch.manual_seed(0)
    return Supernet(Net, "net", choose=RelaxedBuilder(), alpha_std=alpha_std).double()


def single(net, values):
    """The network of the grid, written out, with the first channels of the supernet's weights."""
    stream, hidden, depth, name = values
    state = net.network.state_dict()

    def conv(x, key, out, into, padding=1):
        weight, bias = state[f"{key}.weight"][:out, :into], state[f"{key}.bias"][:out]
        return F.conv2d(x, weight, bias, padding=padding)

    def run(x):
        x = F.silu(conv(x, "head", stream, 3))
        x = conv(x, f"op.candidates.{name}", stream, stream, 1 if name == "conv_3x3" else 2)
        for index in range(depth):
            y = F.silu(conv(x, f"up.{index}", hidden, stream, 0))
            x = x + conv(y, f"down.{index}", stream, hidden)
        return conv(x, "tail", 3, stream)

    return run


def one_hot(net, values):
    by_label = dict(zip(LABELS, values, strict=True))
    rows = {}
    for choice in net.choices.whole:
        rows |= choice.encode(by_label[choice.label])
    return {label: torch.tensor(row, dtype=torch.float64) for label, row in rows.items()}


@pytest.fixture
def x():
    return torch.rand(2, 3, 7, 9, dtype=torch.float64)


@pytest.mark.parametrize("values", GRID[::5], ids=str)
def test_with_one_hot_weights_the_supernet_is_the_network_of_the_grid(x, values):
    net = supernet()
    with net.replaced(one_hot(net, values)):
        torch.testing.assert_close(net(x), single(net, values)(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("values", GRID[::7], ids=str)
def test_a_derived_network_inherits_the_first_channels(x, values):
    net = supernet()
    choices = {Place.of(k): v for k, v in zip(LABELS, values, strict=True)}
    derived = Net(DerivedBuilder(choices, "net")).double()
    derived.load_state_dict(inherited(net, derived, choices))
    torch.testing.assert_close(derived(x), single(net, values)(x), atol=1e-6, rtol=0)


def test_every_value_of_the_grid_is_an_alternative_and_the_strongest_once():
    net = supernet()
    alternatives = product(*(choice.alternatives() for choice in net.choices.whole))
    assert {tuple(map(str, a)) for a in alternatives} == {tuple(map(str, v)) for v in GRID}
    for values in GRID[::5]:
        found = net.choices.strongest(one_hot(net, values))
        assert {str(k): v for k, v in found.items()} == dict(zip(LABELS, values, strict=True))


def test_a_mask_weighs_a_channel_by_the_widths_that_have_it():
    net = supernet()
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    with net.replaced({"stream": p}):
        seen = []
        net.network.stream.register_forward_hook(lambda m, a, out: seen.append((a[0], out)))
        net(torch.rand(1, 3, 5, 5, dtype=torch.float64))
    before, after = seen[0]
    factors = torch.tensor([1, 1, 0.5, 0.2, 0.2, 0.2], dtype=torch.float64)
    torch.testing.assert_close(after, before * factors[:, None, None])


def test_gradients_of_all_weights_are_finite_differences(x):
    net = supernet()
    rows = {k: torch.softmax(a.detach(), 0).requires_grad_() for k, a in net.alphas.items()}

    def loss():
        with net.replaced(rows):
            return net(x).square().mean()

    gradients = torch.autograd.grad(loss(), list(rows.values()))
    for row, gradient in zip(rows.values(), gradients, strict=True):
        for index in range(len(row)):
            with torch.no_grad():
                values = []
                for step in (1e-6, -2e-6):
                    row[index] += step
                    values.append(loss().item())
                row[index] += 1e-6
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient[index].item(), rel=1e-5)


def test_deeper_blocks_do_not_run_for_a_shallow_sample(x):
    choose = RelaxedBuilder()
    net = Supernet(Net, "net", choose=choose).double()
    ran = []
    for index, layer in enumerate(net.network.up):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    choose.shared.computed = {}
    net.alive_masks.keep("depth", [0, 1])
    net(x)
    assert ran == [0]


@pytest.mark.parametrize("value", [4, "3", True, None, [3]])
def test_a_width_that_is_no_alternative_is_told(value):
    with pytest.raises(UserError, match=r"genotype: choices\.w: no alternative is"):
        WidthChoice(Place.of("w"), WIDTHS).check(value)
