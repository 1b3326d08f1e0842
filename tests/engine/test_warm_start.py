"""A training that starts from another network's weights."""

import pytest
import torch

from srnas.engine.train import dry_run, train
from srnas.errors import UserError
from srnas.model_file import load_model, load_published, warm_start
from srnas.options import check_options
from srnas.spaces import derived_network, published_genotype
from tests.helpers import train_options


@pytest.mark.parametrize("rgb_range", [1, 255])
def test_x4_starts_from_the_published_x2_in_everything_but_its_upsampler(shared, rgb_range):
    file = shared / "checkpoints" / "DLSR_x2.pth"
    x2 = load_published(file, {"name": "dlsr", "scale": 2}).network
    space = {"name": "dlsr", "scale": 4, "rgb_range": rgb_range}
    x4 = derived_network(space, published_genotype("dlsr")).eval()
    before = x4.upsample[0].weight.clone()
    assert warm_start(x4, file, "dlsr") == ["upsample.0.weight", "upsample.0.bias"]
    assert torch.equal(x4.upsample[0].weight, before)
    features = []
    for network in (x2, x4):
        network.upsample.register_forward_pre_hook(lambda _, x: features.append(x[0]))
        with torch.no_grad():
            network.double()(torch.ones(1, 3, 20, 24, dtype=torch.double) * 0.3)
    if rgb_range == 255:  # that of the published weights
        assert torch.equal(*features)
    # In doubles, so that it is the weights, rescaled in float32, that differ and not the processor.
    torch.testing.assert_close(*features, rtol=1e-5, atol=1e-5)


def test_a_training_begins_with_the_given_weights(tmp_path, photo_folder):
    first = train_options(tmp_path, photo_folder, steps=8)
    model = train(check_options("train", first, "t"))
    still = {
        "name": "again",
        "init": str(model),
        "steps": 1,
        "ema": 0,
        "optimizer": {"lr": 0.0},
    }
    options = check_options("train", train_options(tmp_path, photo_folder, **still), "t")
    again = load_model(train(options)).network.state_dict()
    assert all(torch.equal(again[k], t) for k, t in load_model(model).network.state_dict().items())


def test_where_weights_do_not_fit_layers_start_at_random(tmp_path, photo_folder):
    model = train(check_options("train", train_options(tmp_path, photo_folder, steps=1), "t"))
    still = {
        "genotype": {"c1": "ds_conv_3x3", "c2": "conv_3x3", "c3": "conv_5x5", "c4": "conv_3x3"},
        "init": str(model),
        "init_where_fitting": True,
        "steps": 1,
        "ema": 0,
        "optimizer": {"lr": 0.0},
    }
    options = train_options(tmp_path, photo_folder, name="again", **still)
    again = load_model(train(check_options("train", options, "t")))
    assert again.genotype.choices == still["genotype"]
    before, after = load_model(model).network.state_dict(), again.network.state_dict()
    fresh = {key for key in after if key not in before or not torch.equal(after[key], before[key])}
    assert {key.rpartition(".")[0] for key in fresh} == {
        "blocks.0.c1.depthwise", "blocks.0.c1.pointwise", "blocks.0.c3"
    }  # fmt: skip


def test_a_start_of_which_nothing_fits_is_told(tmp_path, photo_folder):
    torch.save({"what.weight": torch.zeros(3)}, tmp_path / "other.pth")
    options = train_options(tmp_path, photo_folder, init=str(tmp_path / "other.pth"))
    options["init_where_fitting"] = True
    with pytest.raises(UserError, match="none of its weights fits this network"):
        dry_run(check_options("train", options, "t"))


def test_weights_of_another_network_are_no_start(tmp_path, photo_folder):
    model = train(check_options("train", train_options(tmp_path, photo_folder, steps=1), "t"))
    wider = {"space": {"name": "imdn", "scale": 2, "num_feat": 12, "num_block": 1}}
    options = train_options(tmp_path, photo_folder, name="b", init=str(model), **wider)
    with pytest.raises(UserError, match="this network needs"):
        dry_run(check_options("train", options, "t"))
