"""spandrel, which loads models for other programs, makes the images of srnas's networks."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from srnas.choice import Genotype
from srnas.errors import UserError
from srnas.model_file import NETWORK, Model, load_model, load_published, save_model
from srnas.spaces import check_space, derived_network, published_genotype

spandrel = pytest.importorskip("spandrel", reason="needs srnas[spandrel]")
from srnas.spandrel_plugin import SRNASArch, install  # noqa: E402

OLD = Path(__file__).parent / "v0_1_0/models/imdn.safetensors"  # trained; without the tensor
LABELS = ("c1", "c2", "c3", "c4")
DILATED = ("dil_ds_conv_3x3", "dil_ds_conv_5x5_bn", "dil_ds_conv_3x3_bn", "conv_3x3")
NETWORKS = {
    "imdn": ({"name": "imdn", "num_feat": 16, "num_block": 2}, None),
    "imdn dilated": (
        {"name": "imdn", "num_feat": 16, "num_block": 2, "scale": 4},
        Genotype("imdn", dict(zip(LABELS, DILATED, strict=True))),
    ),
    "dlsr": ({"name": "dlsr", "num_feat": 12, "scale": 3}, None),
    "dlsr 0-255": ({"name": "dlsr", "num_feat": 12, "rgb_range": 255.0}, None),
    "dlsr dilated": (
        {"name": "dlsr", "num_feat": 12, "num_cell": 3},
        Genotype(
            "dlsr",
            {"r1": "dil_conv_5x5", "r2": "dil_conv_3x3", "r3": "conv_1x1", "link3": [2, 1]},
        ),
    ),
    "plain": ({"name": "plain", "widths": [8, 4], "attention": ["gate", "lia"]}, None),
    "plain unshuffled": ({"name": "plain", "widths": [8], "unshuffle": True, "scale": 4}, None),
}


@pytest.fixture
def image(photo):
    """A real photograph, (1, 3, 60, 77), RGB in [0, 1]."""
    crop = torch.from_numpy(photo[100:160, 150:227].copy())
    return crop.permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def loader():
    install()
    return spandrel.ModelLoader()


def saved(path, name):
    """Write the model file of a network of the table; its BatchNorms are not as initialized."""
    torch.manual_seed(0)
    options, genotype = NETWORKS[name]
    space = check_space(options)
    genotype = genotype or published_genotype(space.name)
    network = derived_network(space, genotype)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
    save_model(path, Model(network.eval(), space, genotype, {}))
    return path


@torch.inference_mode()
def ours(path, image):
    """The image that srnas computes, clipped as spandrel clips."""
    sr = load_model(path).network(image)
    assert ((sr > 0) & (sr < 1)).float().mean() > 0.1, "an image that is not clipped all over"
    return sr.clamp(0, 1)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_file_gives_srnass_image(tmp_path, loader, image, name, suffix):
    path = saved(tmp_path / "m.safetensors", name)
    expected = ours(path, image)
    if suffix == "pth":
        torch.save(load_file(path), tmp_path / "m.pth")
    model = loader.load_from_file(tmp_path / f"m.{suffix}")
    assert torch.equal(model(image), expected)
    options, _ = NETWORKS[name]
    assert (model.architecture.id, model.purpose) == ("SRNAS", "SR")
    assert (model.input_channels, model.output_channels) == (3, 3)
    assert model.scale == options.get("scale", 2)
    assert model.tags[0] == options["name"]


@pytest.mark.parametrize("name", ["imdn", "dlsr"])
def test_published_weights_give_srnass_image(tmp_path, loader, image, shared, name):
    weights = shared / "checkpoints" / f"{name.upper()}_x2.pth"
    model = load_published(weights, {"name": name, "scale": 2})
    save_model(tmp_path / "m.safetensors", model)
    loaded = loader.load_from_file(tmp_path / "m.safetensors")
    assert torch.equal(loaded(image), ours(tmp_path / "m.safetensors", image))
    assert model.space.options.model_dump().get("rgb_range", 1) == {"imdn": 1, "dlsr": 255}[name]


def test_equal_weights_of_dilated_and_plain_choices_give_different_images(tmp_path, loader, image):
    space = check_space(NETWORKS["imdn"][0])
    torch.manual_seed(0)
    images, weights = [], None
    for choice in ("ds_conv_3x3", "dil_ds_conv_3x3"):
        genotype = Genotype("imdn", dict.fromkeys(LABELS, choice))
        network = derived_network(space, genotype).eval()
        weights = weights or network.state_dict()
        network.load_state_dict(weights)
        path = tmp_path / f"{choice}.safetensors"
        save_model(path, Model(network, space, genotype, {}))
        images.append(loader.load_from_file(path)(image))
        assert torch.equal(images[-1], ours(path, image))
    assert (images[0] - images[1]).abs().max() > 1e-3  # rounding is below 1e-6


def test_an_image_too_small_for_the_network_is_padded(tmp_path, loader, image):
    path = saved(tmp_path / "m.safetensors", "dlsr")
    small = image[..., :9, :20]
    padded = F.pad(small, (0, 0, 0, 6), "reflect")  # to 15 rows
    model = loader.load_from_file(path)
    assert model.size_requirements.minimum == 15
    assert torch.equal(model(small), ours(path, padded)[..., : 3 * 9, :])


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_stays_close(tmp_path, loader, image, name, dtype, limit):
    path = saved(tmp_path / "m.safetensors", name)
    small = image[..., :20, :24]
    sr = loader.load_from_file(path).to(dtype)(small.to(dtype))
    assert sr.dtype == dtype
    torch.testing.assert_close(sr.float(), ours(path, small), rtol=0, atol=limit)


def test_only_srnass_files_are_detected_as_such_and_before_all_others(tmp_path, loader):
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.SPAN import SPAN

    install()  # again
    registry = loader.registry
    order = [support.architecture.id for support in registry.architectures("detection")]
    assert (order[0], order.count("SRNAS")) == ("SRNAS", 1)
    foreign = {"Compact": Compact(num_conv=2), "SPAN": SPAN(num_in_ch=3, num_out_ch=3)}
    for name, network in foreign.items():
        state = network.state_dict()
        assert not SRNASArch().detect(state)
        assert loader.load_from_state_dict(state).architecture.id == name
    for name in NETWORKS:
        state = load_file(saved(tmp_path / "m.safetensors", name))
        detected = [s.architecture.id for s in registry if s.detect(state)]
        assert detected == ["SRNAS"]


def test_a_file_without_the_tensor_is_srnass_alone_until_it_is_saved_again(tmp_path, loader, image):
    assert NETWORK not in load_file(OLD)
    with pytest.raises(spandrel.UnsupportedModelError):
        loader.load_from_file(OLD)
    save_model(tmp_path / "new.safetensors", load_model(OLD))
    model = loader.load_from_file(tmp_path / "new.safetensors")
    assert torch.equal(model(image), ours(OLD, image))
    assert model.tags == ["imdn", *(f"{label}=conv_3x3" for label in LABELS)]


def test_a_classifier_is_told(loader, tmp_path):
    save_model(tmp_path / "c.safetensors", load_model(OLD.with_name("nasbench201.safetensors")))
    with pytest.raises(spandrel.UnsupportedModelError, match="'nasbench201' is for classification"):
        loader.load_from_file(tmp_path / "c.safetensors")


def test_a_description_of_another_network_is_told(loader, tmp_path):
    path = saved(tmp_path / "m.safetensors", "imdn")
    other = load_file(saved(tmp_path / "other.safetensors", "imdn dilated"))
    save_file({**load_file(path), NETWORK: other[NETWORK]}, path)
    with pytest.raises(UserError, match="state dict: weights of another network"):
        loader.load_from_file(path)
