"""Trainings whose dense convolutions have several branches, and whose model files have one."""

import pytest
import torch

from srnas.engine.train import initial_network, train
from srnas.files import load_tensors
from srnas.model_file import load_model
from srnas.options import check_options
from srnas.primitives.reparameterized import Reparameterized
from srnas.spaces import published_genotype
from tests.branches import never_merged
from tests.helpers import outputs, train_options

FORMS = ["rep_mbconv", "ecb", "conv3xc"]


def options_of(tmp_path, photos, form, **changes):
    return check_options(
        "train", train_options(tmp_path, photos, reparameterize=form, **changes), "t"
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_training_starts_where_plain_convolutions_would(tmp_path, photo_folder, form):
    plain = train(options_of(tmp_path, photo_folder, None, steps=4))
    options = options_of(tmp_path, photo_folder, form, init=str(plain))
    model = load_model(plain)
    network = initial_network(options, model.genotype).eval()
    assert sum(isinstance(m, Reparameterized) for m in network.modules()) == 7
    expected, found = outputs(model.network, network)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_its_model_file_is_the_average_of_the_branches(tmp_path, photo_folder, form):
    options = options_of(tmp_path, photo_folder, form, steps=8)
    model = load_model(train(options))
    assert not any(isinstance(m, Reparameterized) for m in model.network.modules())
    assert model.provenance["options"]["reparameterize"] == form
    parts = load_tensors(tmp_path / "experiments/train/checkpoints/last.pt")["parts"]
    assert sum(tensor.numel() for tensor in parts["network"].values()) > 2 * sum(
        parameter.numel() for parameter in model.network.parameters()
    )
    average = {
        key.removeprefix("module."): tensor
        for key, tensor in parts["ema"].items()
        if key.startswith("module.")
    }
    branches = initial_network(options, model.genotype).eval()
    branches.load_state_dict(average)
    expected, found = outputs(never_merged(branches), model.network)
    assert (found - expected).abs().max() < 1e-5


def test_convolutions_of_its_own_form_stay_as_they_are(tmp_path, photo_folder):
    space = {"name": "plain", "widths": [4, 4], "attention": "none", "reparameterize": "ecb"}
    options = options_of(tmp_path, photo_folder, "conv3xc", space=space)
    network = initial_network(options, published_genotype(options.space)).eval()
    kinds = {type(m).__name__ for m in network.modules() if isinstance(m, Reparameterized)}
    assert kinds == {"ECB", "Conv3XC"}  # blocks, and both ends
    with torch.no_grad():
        assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
