"""Searches that start from a trained network."""

import pytest
import torch

from srnas.choice import Genotype
from srnas.distributed import Process
from srnas.engine.initial import start_from
from srnas.engine.search import search
from srnas.engine.stepper import SearchStepper, build_supernet
from srnas.errors import UserError
from srnas.model_file import Model, save_model
from srnas.options import check_options
from srnas.spaces import check_space, derived_network, spelled_out
from tests.helpers import assert_same_run, killed, search_options

SPACE = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 2}
CHOICES = {"c1": "conv_3x3", "c2": "ds_conv_5x5", "c3": "conv_5x5_bn", "c4": "conv_3x3"}


@pytest.fixture
def model(tmp_path):
    """A model file of a network whose BatchNorm has seen images."""
    torch.manual_seed(1)
    space = check_space(SPACE)
    genotype = Genotype("imdn", CHOICES)
    network = derived_network(space, genotype).train()
    network(torch.rand(4, 3, 16, 16))
    file = tmp_path / "m.safetensors"
    save_model(file, Model(network.eval(), space, genotype, {}))
    return file, network


def begin(given):
    search(check_options("search", given, "here"))


def supernet(tmp_path, photos, file, **changes):
    options = {**search_options(tmp_path, photos), "space": SPACE, "init": str(file), **changes}
    checked = check_options("search", options, "here")
    torch.manual_seed(0)
    net = build_supernet(checked)
    start_from(net, checked)
    return net.eval(), checked


@pytest.mark.parametrize("per_block", [False, True])
def test_with_its_choices_the_supernet_computes_what_the_network_does(
    tmp_path, photo_folder, model, per_block
):
    file, network = model
    space = {**SPACE, "per_block": per_block}
    net, options = supernet(tmp_path, photo_folder, file, space=space, affine=True)
    choices = spelled_out(options.space, Genotype("imdn", CHOICES)).choices
    rows = {}
    for choice in net.choices.whole:
        rows |= choice.encode(choices[choice.label])
    x = torch.rand(2, 3, 12, 10)
    with net.replaced({label: torch.tensor(row) for label, row in rows.items()}):
        torch.testing.assert_close(net(x), network(x), rtol=0, atol=1e-5)


def test_other_candidates_start_near_it(tmp_path, photo_folder, model):
    file, network = model
    net, _ = supernet(tmp_path, photo_folder, file)
    mixed, trained = net.network.blocks[1].c1, network.blocks[1].c1
    wide, separable = (mixed.candidates[name] for name in ("conv_5x5", "ds_conv_3x3"))
    x = torch.rand(2, 8, 9, 9)
    torch.testing.assert_close(wide(x), trained(x), rtol=0, atol=1e-6)  # the same convolution
    kernel = separable.pointwise.weight * separable.depthwise.weight.transpose(0, 1)
    for channel in range(8):  # the first singular value of each input channel is all that it keeps
        values = torch.linalg.svdvals(trained.weight[:, channel].flatten(1))
        left = (kernel - trained.weight)[:, channel].norm()
        torch.testing.assert_close(left, values[1:].norm(), rtol=1e-4, atol=1e-6)


def test_a_search_begins_there_and_resumes_to_the_same_bits(tmp_path, photo_folder, model):
    file, network = model
    given = {**search_options(tmp_path, photo_folder), "space": SPACE, "init": str(file)}
    options = check_options("search", given, "here")
    stepper = SearchStepper(options, Process(torch.device("cpu")))
    assert torch.equal(stepper.supernet.network.fuse.weight, network.fuse.weight)
    search(options)
    whole = options.folder.rename(tmp_path / "whole")
    assert killed(9, options.folder / "checkpoints", begin, given)
    search(options, resume=True)
    assert_same_run(whole, options.folder)


def test_what_does_not_fit_is_one_line(tmp_path, photo_folder, model):
    file, _ = model

    def refused(match, **changes):
        with pytest.raises(UserError, match=match):
            supernet(tmp_path, photo_folder, file, **changes)

    refused("partial_channels shuffles channels", partial_channels=2)
    refused("layers have other shapes", space={**SPACE, "num_block": 3})
    refused("a network of space 'imdn', not 'dlsr'", space={"name": "dlsr", "num_feat": 8},
            data={**search_options(tmp_path, photo_folder)["data"], "hr_patch": 32})  # fmt: skip
    file = tmp_path / "none.pth"
    refused("none.pth: no such file")
