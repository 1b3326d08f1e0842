"""How the composed network is trained."""

import pytest
import torch

from srnas.cost import count_parameters
from srnas.errors import UserError
from srnas.files import read_json
from srnas.model_file import Model, load_model, save_model
from srnas.options import load_options
from srnas.primitives.reparameterized import Reparameterized
from srnas.shrinking import run as running
from srnas.spaces import check_space, derived_network, published_genotype
from tests.shrinking.test_run import options


@pytest.fixture
def plain(tmp_path):
    """A plain network of 12 channels, as if it were trained."""
    torch.manual_seed(0)
    space = check_space({"name": "plain", "widths": [12, 8], "attention": "none"})
    genotype = published_genotype(space)
    model = Model(derived_network(space, genotype), space, genotype, {})
    save_model(tmp_path / "plain.safetensors", model)
    return tmp_path / "plain.safetensors"


def shrunk(tmp_path, photos, model, **changes):
    count = count_parameters(load_model(model).network)
    space = {"search_feat": [12], "search_hidden": [4, 8, 12], "search_convs": [1, 2]}
    given = options(tmp_path, photos, model, params=0.7 * count, space=space, check=0, **changes)
    return load_model(running.shrink(given))


@pytest.mark.parametrize(("given", "form"), [("auto", "rep_mbconv"), ("none", None)])
def test_plain_networks_learn_in_a_form_of_several_branches(
    tmp_path, photo_folder, plain, given, form
):
    found = shrunk(tmp_path, photo_folder, plain, reparameterize=given)
    trained = load_options("train", tmp_path / "out/options.yml")
    assert trained.reparameterize == form
    assert not any(isinstance(m, Reparameterized) for m in found.network.modules())


@pytest.mark.parametrize("has", [True, False])
def test_half_precision_is_taken_where_the_device_has_it_and_stays(
    tmp_path, photo_folder, plain, monkeypatch, has
):
    monkeypatch.setattr(running, "computes_in_bfloat16", lambda device: has)
    shrunk(tmp_path, photo_folder, plain)
    precision = "bfloat16" if has else "float32"
    assert read_json(tmp_path / "out/shrink/plan.json")["precision"] == precision
    assert load_options("train", tmp_path / "out/options.yml").precision == precision
    monkeypatch.setattr(running, "computes_in_bfloat16", lambda device: not has)
    (tmp_path / "out/shrink/result.json").unlink()
    count = count_parameters(load_model(plain).network)
    space = {"search_feat": [12], "search_hidden": [4, 8, 12], "search_convs": [1, 2]}
    given = options(tmp_path, photo_folder, plain, params=0.7 * count, space=space, check=0)
    running.shrink(given, resume=True)
    assert load_options("train", tmp_path / "out/options.yml").precision == precision


@pytest.mark.parametrize("key", ["reparameterize", "training_precision"])
def test_an_unknown_form_or_precision_is_one_line(tmp_path, photo_folder, plain, key):
    with pytest.raises(UserError, match=f"shrink: {key}: Input should be 'auto', ") as caught:
        options(tmp_path, photo_folder, plain, **{key: "other"})
    assert "\n" not in str(caught.value)
