"""DLSR: candidates, links, and what is derived from them."""

import pytest
import torch
import torch.nn.functional as F

from srnas.choice import Genotype, Supernet
from srnas.errors import UserError
from srnas.fast import plain
from srnas.fast.merging import mergeable
from srnas.losses import LOSSES, hfen
from srnas.model_file import Model, load_published, save_model, warm_start
from srnas.primitives.dlsr import DLSR_PRIMITIVES
from srnas.regularizers import REGULARIZERS
from srnas.spaces import check_space, derived_network, published_genotype, space_builder
from srnas.tasks.super_resolution.task import SuperResolution
from tests.helpers import derive

SMALL = {"name": "dlsr", "num_feat": 8}
LINKS = {"link3": 2, "link4": 3, "link5": 4, "link6": 5}


def supernet(**changes):
    torch.manual_seed(0)
    return Supernet(space_builder({**SMALL, **changes}), "dlsr", alpha_std=1.0).eval()


def test_three_rows_of_nine_and_links_of_two_to_five_inputs():
    net = supernet()
    sizes = {label: len(alpha) for label, alpha in net.alphas.items()}
    assert sizes == {"r1": 9, "r2": 9, "r3": 9, **LINKS}
    assert len(supernet(primitives="imdn").alphas["r1"]) == 12


@pytest.mark.parametrize("name", DLSR_PRIMITIVES)
def test_one_hot_alphas_give_the_derived_cells_for_every_candidate(name):
    net = supernet(num_cell=2)  # two cells have no links
    x = torch.rand(1, 3, 16, 18)
    with torch.no_grad():
        for label in ("r1", "r2", "r3"):
            for other in ("r1", "r2", "r3"):
                net.alphas[other].zero_()
                chosen = name if other == label else "dil_conv_3x3"
                net.alphas[other][list(DLSR_PRIMITIVES).index(chosen)] = 200.0
            derived = derive(net, {**SMALL, "num_cell": 2})
            assert net.genotype().choices[label] == name
            assert (net(x) - derived(x)).abs().max() < 1e-5


def test_links_are_weighted_while_searching():
    net = supernet()
    link, outputs = net.network.links[1], [torch.randn(1, 8, 4, 4) for _ in range(3)]
    beta = torch.softmax(net.alphas["link4"], 0)
    net._shared.weights = {"link4": beta}
    weighted = torch.cat([b * y for b, y in zip(beta, outputs, strict=True)], 1)
    expected = torch.nn.functional.leaky_relu(link.fuse(weighted), 0.05)
    torch.testing.assert_close(link(outputs), expected)


def test_the_genotype_keeps_the_two_strongest_inputs_strongest_first():
    net = supernet()
    with torch.no_grad():
        net.alphas["link5"].copy_(torch.tensor([0.1, 0.9, -3.0, 0.5]))
        net.alphas["link3"].copy_(torch.tensor([-1.0, 2.0]))
        net.alphas["link6"].zero_()
    choices = net.genotype().choices
    assert choices["link5"] == [2, 4]
    assert choices["link3"] == [2, 1]
    assert choices["link6"] == [1, 2], "of equal ones, the first"
    assert str(net.genotype()).endswith("link6=1,2")


def test_derived_links_concatenate_in_the_genotypes_order():
    choices = published_genotype("dlsr").choices | {"link4": [3, 1]}
    network = derived_network(SMALL, Genotype("dlsr", choices))
    outputs = [torch.randn(1, 8, 4, 4) for _ in range(3)]
    chosen = network.links[1].inputs(outputs)
    assert chosen[0] is outputs[2]
    assert chosen[1] is outputs[0]


@pytest.mark.parametrize("links", [[1], [1, 1], [0, 1], [1, 4], "12", [1, 2, 3], [1.0, 2.5]])
def test_impossible_links_are_told(links):
    choices = published_genotype("dlsr").choices | {"link4": links}
    with pytest.raises(
        UserError, match=r"choices\.link4: .* is not 2 different numbers from 1 to 3"
    ):
        derived_network(SMALL, Genotype("dlsr", choices))


@pytest.mark.parametrize("term", ["smooth_activation", "beta_decay", "expected_cost"])
def test_regularizers_of_operations_leave_the_links_alone(term):
    net = supernet()
    value = REGULARIZERS.build({"name": term})(net)
    gradients = torch.autograd.grad(value, net.arch_parameters(), allow_unused=True)
    touched = {
        label for label, g in zip(net.alphas, gradients, strict=True) if g is not None and g.any()
    }
    assert touched == {"r1", "r2", "r3"}


def test_dlsrs_parameter_penalty_is_the_expected_cost_at_fifty_channels():
    # the table of kilo-weights in the released code, whose sum is 240
    published = [2.5, 22.5, 62.5, 122.5, 5.9, 7.5, 9.9, 2.95, 3.75]
    term = REGULARIZERS.build({"name": "expected_cost", "channels": 50})
    costs = term.costs(supernet().choices.competing["r1"])
    assert costs.tolist() == pytest.approx([c / sum(published) for c in published])
    assert [p.macs_per_pixel(50, 50) / 1000 for p in DLSR_PRIMITIVES.values()] == published


def test_merged_kernels_are_the_plain_sum():
    merged = supernet()
    op = merged.network.cells[0].r1
    convs = ["conv_1x1", "conv_3x3", "conv_5x5", "conv_7x7"]
    assert mergeable(op.primitives, op.candidates) == (convs, 7)
    x = torch.rand(1, 3, 17, 20)
    with plain():
        expected = merged(x)
    torch.testing.assert_close(merged(x), expected, rtol=0, atol=1e-5)


def in_255(scale=2):
    """Equal weights computing in 0-1 and, as the authors' do, in 0-255."""
    torch.manual_seed(0)
    genotype = published_genotype("dlsr")
    plain = derived_network({**SMALL, "scale": scale}, genotype)
    ranged = derived_network({**SMALL, "scale": scale, "rgb_range": 255}, genotype)
    ranged.load_state_dict(plain.state_dict())
    return plain, ranged


def test_a_network_in_0_to_255_is_the_authors_between_a_product_and_a_quotient():
    # data/common.py of DLSR-PyTorch feeds 0-255 images, rgb_range 255, to the bare network.
    plain, ranged = in_255()
    x = torch.rand(2, 3, 20, 18)
    with torch.no_grad():
        torch.testing.assert_close(ranged(x), plain(255 * x) / 255)
        assert (ranged(x) - plain(x)).abs().max() > 1e-2


def test_loss_and_gradients_in_0_to_255_are_those_of_the_released_training():
    # train/train_beta_para.py: L1 + 0.2 * HFEN (losses/__init__.py) of images in 0-255.
    plain, ranged = in_255()
    lr, hr = torch.rand(2, 3, 20, 18), torch.rand(2, 3, 40, 36)
    released = plain(255 * lr)
    expected = F.l1_loss(released, 255 * hr) + 0.2 * hfen(released, 255 * hr)
    expected.backward()
    loss = LOSSES.build({"name": "l1_hfen"})
    task = SuperResolution(2, loss, [], torch.device("cpu"), rgb_range=ranged.rgb_range)
    ours = task.loss(ranged, (lr, hr))
    ours.backward()
    torch.testing.assert_close(ours, expected)
    for one, other in zip(ranged.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
    norm = torch.cat([p.grad.flatten() for p in ranged.parameters()]).norm()
    assert norm > 50, "the released clipping acts"


@pytest.mark.parametrize(("made", "used"), [(255, 1), (1, 255), (255, 255)])
def test_a_model_file_starts_a_network_of_another_range_with_the_same_function(
    made, used, tmp_path
):
    genotype = published_genotype("dlsr")
    space = check_space({**SMALL, "rgb_range": made})
    network = derived_network(space, genotype).eval()
    save_model(tmp_path / "m.safetensors", Model(network, space, genotype, {}))
    other = derived_network({**SMALL, "rgb_range": used}, genotype).eval()
    assert warm_start(other, tmp_path / "m.safetensors", "dlsr") == []
    loaded = load_published(tmp_path / "m.safetensors", {**SMALL, "rgb_range": used}).network
    x = torch.rand(1, 3, 20, 18)
    with torch.no_grad():
        torch.testing.assert_close(other(x), network(x))
        torch.testing.assert_close(loaded.eval()(x), network(x))
