"""A model file describes its network in the metadata and in a tensor."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.model_file import (
    FORMAT,
    NETWORK,
    Model,
    load_model,
    load_published,
    load_state,
    save_model,
)
from srnas.spaces import check_space, derived_network

SPACE = {"name": "imdn", "num_feat": 8, "num_block": 1}
PLAIN = dict.fromkeys(("c1", "c2", "c3", "c4"), "ds_conv_3x3")
DILATED = dict.fromkeys(PLAIN, "dil_ds_conv_3x3")  # the same shapes


def save(path, choices=PLAIN, **provenance):
    """A model file of the choices with weights of their own, and what is in it."""
    torch.manual_seed(0)
    space, genotype = check_space(SPACE), Genotype("imdn", choices, provenance)
    model = Model(derived_network(space, genotype).eval(), space, genotype, provenance)
    save_model(path, model)
    return model


def written(path):
    """Tensors and metadata of a file."""
    with safe_open(path, framework="pt") as file:
        return load_file(path), file.metadata()


def in_bytes(text):
    return torch.tensor(list(text), dtype=torch.uint8)


def test_the_tensor_says_which_network_it_is_and_nothing_else(tmp_path):
    model = save(tmp_path / "m.safetensors", seed=3)
    tensors, metadata = written(tmp_path / "m.safetensors")
    description = json.loads(bytes(tensors[NETWORK].tolist()).decode("utf-8"))
    assert description["space"] == model.space.to_dict()
    assert description["genotype"]["choices"] == PLAIN
    assert "seed" not in str(description)
    assert "seed" in metadata[FORMAT]
    assert tensors.keys() - {NETWORK} == model.network.state_dict().keys()


def test_the_tensors_of_equal_networks_are_equal(tmp_path):
    save(tmp_path / "one.safetensors", PLAIN, seed=1)
    save(tmp_path / "two.safetensors", dict(reversed(PLAIN.items())), seed=2)
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_file_that_lost_its_metadata_still_rebuilds_its_network(tmp_path):
    model = save(tmp_path / "m.safetensors", DILATED)
    tensors, _ = written(tmp_path / "m.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    x = torch.rand(1, 3, 9, 11)
    for loaded in (load_model(tmp_path / "bare.safetensors"), load_state(tensors)):
        assert (loaded.space, loaded.genotype) == (model.space, model.genotype)
        assert loaded.provenance == {}
        with torch.no_grad():
            assert torch.equal(loaded.network(x), model.network(x))
    assert NETWORK in tensors, "the caller's tensors are not changed"


def test_a_state_dict_of_all_its_tensors_is_a_weight_file(tmp_path):
    model = save(tmp_path / "m.safetensors")
    torch.save({"params": load_file(tmp_path / "m.safetensors")}, tmp_path / "m.pth")
    loaded = load_published(tmp_path / "m.pth", SPACE, model.genotype).network.state_dict()
    assert all(torch.equal(loaded[key], t) for key, t in model.network.state_dict().items())


@pytest.mark.parametrize("change", ["genotype", "space"])
def test_metadata_and_tensor_must_agree(tmp_path, change):
    save(tmp_path / "m.safetensors")
    tensors, metadata = written(tmp_path / "m.safetensors")
    description = json.loads(metadata[FORMAT])
    if change == "genotype":
        description["genotype"]["choices"] = DILATED
    else:
        description["space"]["scale"] = 3
    save_file(tensors, tmp_path / "m.safetensors", {FORMAT: json.dumps(description)})
    for load in (load_model, lambda path: load_published(path, SPACE, Genotype("imdn", PLAIN))):
        with pytest.raises(UserError, match=r"m\.safetensors: its metadata and its .* different"):
            load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.zeros(4), r"not a tensor of bytes, \(N,\) uint8"),
        (torch.zeros(2, 2, dtype=torch.uint8), r"not a tensor of bytes, \(N,\) uint8"),
        (in_bytes(b"\xff\xfe{}"), "not UTF-8"),
        (in_bytes(b""), "broken description"),
        (in_bytes(b"{"), "broken description"),
        (in_bytes(b"[" * 100_000), "broken description"),
        (in_bytes(b"[]"), "broken description"),
        (in_bytes(b"7"), "broken description"),
        (in_bytes(b'{"version": 2}'), "broken description .*space"),
        (
            in_bytes(b'{"version": 9, "space": {}, "genotype": {}}'),
            "model version 9; .* 1 and 2",
        ),
        (in_bytes(b'{"version": 2, "space": 1, "genotype": {}}'), "space: a space is written as"),
        (in_bytes(b'{"version": 2, "space": "imdn", "genotype": []}'), "not a genotype"),
    ],
)
def test_a_broken_description_is_told_in_one_line(tmp_path, tensor, told):
    save(tmp_path / "m.safetensors")
    tensors, metadata = written(tmp_path / "m.safetensors")
    save_file({**tensors, NETWORK: tensor}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(UserError, match=rf"m\.safetensors: {NETWORK}: {told}") as error:
        load_model(tmp_path / "m.safetensors")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=told):
        load_state({**tensors, NETWORK: tensor})


def test_tensors_without_a_description_are_no_model():
    with pytest.raises(UserError, match="state dict: not an srnas model file"):
        load_state({"head.weight": torch.zeros(8, 3, 3, 3)})


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("IMDN_x2", {"name": "imdn", "scale": 2, "num_feat": 64}),
        ("IMDN_x3", {"name": "imdn", "scale": 3, "num_feat": 64}),
        ("IMDN_x4", {"name": "imdn", "scale": 4, "num_feat": 64}),
        ("DLSR_x2", {"name": "dlsr", "scale": 2, "num_feat": 48, "rgb_range": 255.0}),
        ("DLSR_tiny18_x2", {"name": "dlsr", "scale": 2, "num_feat": 18, "rgb_range": 255.0}),
    ],
)
def test_the_weights_of_published_networks_are_recognized(shared, file, options):
    model = load_model(shared / f"checkpoints/{file}.pth")
    assert model.space.to_dict().items() >= options.items()
    assert model.provenance == {"weights": f"{file}.pth"}
    same = load_published(shared / f"checkpoints/{file}.pth", options).network.state_dict()
    state = model.network.state_dict()
    assert same.keys() == state.keys()
    assert all(torch.equal(same[key], state[key]) for key in state)


def test_other_weights_are_not_taken_for_published_ones(shared, tmp_path):
    state = load_published(shared / "checkpoints/IMDN_x2.pth", "imdn").network.state_dict()
    del state["head.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth: not an srnas model file, nor the weights"):
        load_model(tmp_path / "other.pth")
    (tmp_path / "model.bin").write_bytes(save_bytes(tmp_path))
    assert load_model(tmp_path / "model.bin").genotype.choices == PLAIN


def save_bytes(folder):
    save(folder / "m.safetensors")
    return (folder / "m.safetensors").read_bytes()
