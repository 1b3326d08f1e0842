"""Plain networks: PlainUSR's published weights, forms for training, and what the options do."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from srnas.choice import Genotype, Supernet
from srnas.choice.inherit import inherited
from srnas.data.images import benchmark_pairs
from srnas.engine.sample import sample_genotypes
from srnas.engine.train import train
from srnas.errors import UserError
from srnas.export.write import export
from srnas.files import load_tensors
from srnas.model_file import Model, load_model, load_published, merged, save_model, warm_start
from srnas.options import check_options
from srnas.spaces import check_space, derived_network, is_open, published_genotype, space_builder
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, evaluate
from srnas.tasks.super_resolution.protocols import PROTOCOLS
from tests.branches import disturb, never_merged
from tests.helpers import outputs, srnas, train_options, write_options

GENOTYPE = Genotype("plain", {})
FORMS = ["rep_mbconv", "ecb", "conv3xc"]
SMALL = {"name": "plain", "widths": [8, 4, 8], "attention": ["none", "lia", "gate"]}
# PSNR in dB and SSIM on Set5 and Set14: measured with the released code and weights.
PUBLISHED = [
    ("U", 2, 37.0989, 0.95692, 32.7545, 0.91010),
    ("T", 2, 37.4644, 0.95840, 32.9814, 0.91219),
    ("S", 2, 37.6345, 0.95924, 33.1682, 0.91465),
    ("M", 2, 37.7854, 0.95974, 33.3779, 0.91656),
    ("", 2, 37.9450, 0.96031, 33.5602, 0.91787),
    ("L", 2, 38.0667, 0.96075, 33.8202, 0.92017),
    ("U", 4, 30.7688, 0.86979, 27.7238, 0.76023),
    ("T", 4, 31.2008, 0.87862, 28.0245, 0.76695),
    ("S", 4, 31.5614, 0.88546, 28.1720, 0.77140),
    ("M", 4, 31.7914, 0.88892, 28.3797, 0.77597),
    ("", 4, 32.0155, 0.89217, 28.5432, 0.77999),
    ("L", 4, 32.2572, 0.89563, 28.7135, 0.78372),
]
SIZES = [  # of the released code, at x2
    ("U", [16, 8, 16], 2, ["none", "gate", "none"], None, 13_628),
    ("T", [32, 16, 32], 2, ["none", "gate", "none"], None, 48_724),
    ("S", [32, 16, 8, 16, 32], 2, ["lia"] * 5, 4, 57_236),
    ("M", [48, 32, 16, 32, 48], 2, ["lia"] * 5, 8, 148_932),
    ("", [64, 48, 32, 48, 64], 2, ["lia"] * 5, 16, 311_364),
    ("L", [80, 64, 48, 64, 80], 3, ["lia"] * 5, 16, 707_076),
]


def network(**options):
    return derived_network({**SMALL, **options}, GENOTYPE).eval()


def weights(shared, name, scale):
    return shared / "checkpoints" / "plainusr" / f"PlainUSR{name}_Rep_x{scale}.pth"


FIGURES = [
    pytest.param(
        name,
        figures,
        id=f"{name}-{figures[0] or 'base'}-x{figures[1]}",
        marks=[pytest.mark.slow] * (name == "Set14" and figures[:2] in [("", 2), ("L", 2)]),
    )
    for name in ("Set5", "Set14")
    for figures in PUBLISHED
]


@pytest.mark.parametrize(("name", "figures"), FIGURES)
def test_published_plainusr_reaches_the_released_figures(shared, name, figures):
    size, scale, *measured = figures
    psnr, ssim = measured[:2] if name == "Set5" else measured[2:]
    upscale = NetworkUpscale(load_model(weights(shared, size, scale)).network, torch.device("cpu"))
    pairs = benchmark_pairs(shared / "data" / name, scale)
    result = evaluate(upscale, pairs, scale, PROTOCOLS["basicsr"])
    assert result["psnr"] == pytest.approx(psnr, abs=0.0006)
    assert result["ssim"] == pytest.approx(ssim, abs=2e-5)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size[0] or "base")
def test_a_published_file_tells_all_options_of_its_network(shared, size):
    name, widths, convs, attention, pooled, parameters = size
    for scale in (2, 4):
        model = load_model(weights(shared, name, scale))
        options = model.space.options
        assert (options.scale, options.widths, options.attention) == (scale, widths, attention)
        assert options.convs == [convs] * len(widths)
        assert options.num_feat == widths[0]
        assert pooled is None or options.attention_feat == pooled
        assert (options.reparameterize, options.unshuffle) == ("none", False)
        if scale == 2:
            assert sum(p.numel() for p in model.network.parameters()) == parameters


def test_the_default_options_are_plainusr_s(shared):
    assert published_genotype("plain") == GENOTYPE
    plain = derived_network("plain", GENOTYPE)
    published = load_tensors(weights(shared, "S", 2))
    assert sorted(t.shape for t in plain.state_dict().values()) == sorted(
        t.shape for t in published.values()
    )


def test_published_weights_are_tested_with_nothing_else_said(shared):
    file = weights(shared, "U", 4)
    done = srnas("test", "--model", file, "--data", f"Set5={shared / 'data/Set5'}")
    assert "30.769 │ 0.8698" in done.stdout, done.stderr
    assert "19,820" in done.stdout
    assert "PlainUSRU_Rep_x4:" not in done.stdout, "a line of choices that there are not"


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_training_is_its_branches_and_so_is_its_model_file(tmp_path, form):
    torch.manual_seed(0)
    space = check_space({**SMALL, "reparameterize": form})
    trained = disturb(derived_network(space, GENOTYPE)).eval()
    before = {key: tensor.clone() for key, tensor in trained.state_dict().items()}
    model = Model(trained, space, GENOTYPE, {})
    save_model(tmp_path / "m.safetensors", merged(model))
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.space == space.with_options(reparameterize="none")
    assert all(torch.equal(t, before[k]) for k, t in trained.state_dict().items()), "as it was"
    assert loaded.network.state_dict().keys() == network().state_dict().keys()
    branches = never_merged(derived_network(space, GENOTYPE)).eval()
    branches.load_state_dict(
        {k.replace(".convs.0.", ".convs.0.form.").replace(".convs.1.", ".convs.1.form."): t
         for k, t in before.items()}
    )  # fmt: skip
    for size in [(7, 9), (13, 11), (31, 21)]:
        expected, *found = outputs(branches, trained, loaded.network, size=size)
        assert all((one - expected).abs().max() < 1e-5 for one in found)


@pytest.mark.parametrize(
    "form", ["rep_mbconv", *(pytest.param(form, marks=pytest.mark.slow) for form in FORMS[1:])]
)
def test_an_export_of_a_network_in_training_is_its_branches(tmp_path, form):
    onnx = pytest.importorskip("onnx", reason="needs srnas[export]")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs srnas[export]")
    torch.manual_seed(0)
    space = check_space({**SMALL, "reparameterize": form})
    trained = disturb(derived_network(space, GENOTYPE)).eval()
    file = export(Model(trained, space, GENOTYPE, {}), tmp_path / "m.onnx").files[0]
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    convolutions = 1 + 3 * 2 + 3 + 1 + 1  # head; blocks; attentions; tail
    assert kinds.count("Conv") == convolutions
    assert "ScatterND" not in kinds, "a map is not copied to change its first channels"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    branches = never_merged(trained)
    for size in [(7, 9), (13, 11), (31, 21)]:
        x = torch.rand(1, 3, *size)
        (found,) = session.run(None, {"lr": x.numpy()})
        with torch.no_grad():
            assert (torch.from_numpy(found) - branches(x)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino", "ncnn", "torch"])
@pytest.mark.parametrize("name", ["S", "T", "L"])
def test_published_networks_run_in_every_runtime(tmp_path, shared, target, name):
    packages = {"onnx": "onnxruntime", "torch": "torch"}
    pytest.importorskip(packages.get(target, target), reason="needs the target's extra")
    model = load_model(weights(shared, name, 2))
    for precision, limit in {"fp32": 1e-5, "fp16": 3e-3}.items():
        if target != "torch" or precision == "fp32":
            written = export(model, tmp_path / precision, target, precision)
            assert max(agreement.largest for agreement in written.agreements) < limit


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino", "ncnn", "torch"])
@pytest.mark.parametrize("attention", ["lia", "gate"])
def test_networks_that_unshuffle_pixels_run_in_every_runtime_on_odd_sides(
    tmp_path, target, attention
):
    packages = {"onnx": "onnxruntime", "torch": "torch"}
    pytest.importorskip(packages.get(target, target), reason="needs the target's extra")
    space = check_space({**SMALL, "unshuffle": True, "attention": attention})
    model = Model(derived_network(space, GENOTYPE).eval(), space, GENOTYPE, {})
    written = export(model, tmp_path / "m", target, "fp32")
    assert [agreement.size for agreement in written.agreements][1] == "51x37"
    assert max(agreement.largest for agreement in written.agreements) < 1e-5


@pytest.mark.parametrize("form", ["none", *FORMS])
def test_every_form_starts_from_published_weights(shared, form):
    file = weights(shared, "S", 2)
    started = derived_network({"name": "plain", "reparameterize": form}, GENOTYPE).eval()
    assert warm_start(started, file, "plain") == []
    expected, found = outputs(load_model(file).network, started)
    assert (found - expected).abs().max() < 1e-5
    x4 = derived_network({"name": "plain", "scale": 4, "reparameterize": form}, GENOTYPE).eval()
    assert warm_start(x4, file, "plain") == ["upsample.0.weight", "upsample.0.bias"]


def test_weights_of_another_form_are_no_start(tmp_path):
    torch.save(network(reparameterize="ecb").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: weights of another network \(lacks blocks"):
        warm_start(network(reparameterize="conv3xc"), tmp_path / "w.pth", "plain")


@pytest.mark.parametrize("form", ["none", "ecb"])
def test_weights_of_another_width_or_with_a_part_missing_are_told_in_one_line(tmp_path, form):
    wider = network(widths=[12, 6, 12]).state_dict()
    torch.save(wider, tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=r"w\.pth: .*is \(1[25], .* this network needs \("
    ) as caught:
        warm_start(network(reparameterize=form), tmp_path / "w.pth", "plain")
    assert "\n" not in str(caught.value)
    state = network(reparameterize=form, unshuffle=True).state_dict()
    for key in state:
        if key.startswith(("blocks.1.", "blocks.2.")):  # named as those of the first block
            continue
        torch.save({k: t for k, t in state.items() if k != key}, tmp_path / "w.pth")
        with pytest.raises(UserError, match=r"w\.pth: "):
            load_model(tmp_path / "w.pth")


@pytest.mark.parametrize("form", ["none", *FORMS])
def test_a_state_dict_tells_its_options_but_not_attentions_without_parameters(tmp_path, form):
    torch.manual_seed(0)
    given = {
        "scale": 3,
        "widths": [6, 8, 3],
        "num_feat": 10,
        "convs": [1, 3, 2],
        "attention": ["spanv2", "lia", "gate"],
        "attention_feat": 5,
        "reparameterize": form,
        "unshuffle": True,
    }
    made = disturb(network(**given))
    torch.save(made.state_dict(), tmp_path / "w.pth")
    loaded = load_model(tmp_path / "w.pth")
    assert loaded.space == check_space({"name": "plain", **given, "reparameterize": "none"})
    expected, found = outputs(made, loaded.network)
    assert torch.equal(found, expected)
    free = network(attention=["none", "span", "gate"])
    torch.save(free.state_dict(), tmp_path / "free.pth")
    with pytest.raises(UserError, match="not an srnas model file, nor the weights of a published"):
        load_model(tmp_path / "free.pth")
    named = {"name": "plain", "attention": ["none", "span", "gate"]}
    expected, found = outputs(free, load_published(tmp_path / "free.pth", named).network)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("unshuffle", [False, True])
def test_without_random_weights_the_untrained_network_repeats_pixels(monkeypatch, scale, unshuffle):
    def zero(conv):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)

    monkeypatch.setattr(nn.Conv2d, "reset_parameters", zero)
    made = network(scale=scale, unshuffle=unshuffle)
    x = torch.rand(2, 3, 15, 18)
    with torch.no_grad():
        assert torch.equal(made(x), F.interpolate(x, scale_factor=scale, mode="nearest"))


@pytest.mark.parametrize("size", [(16, 18), (15, 17), (13, 14)])
def test_the_unshuffling_convolution_is_one_of_unshuffled_pixels(size):
    torch.manual_seed(0)
    made = network(unshuffle=True)
    x = torch.rand(1, 3, *size)
    head = made.head[1]
    squares = head.weight.view(-1, 3, 3, 2, 3, 2)  # (o, colour, row, p, column, q)
    kernel = squares.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)  # 12 channels of 3x3
    even = F.pad(x, (0, size[1] % 2, 0, size[0] % 2))
    expected = F.conv2d(F.pixel_unshuffle(even, 2), kernel, head.bias, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(made.head(x), expected)
        assert made(x).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_the_first_channels_are_replaced_and_the_others_kept():
    torch.manual_seed(0)
    made, seen = network(), []
    made.upsample.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 3, 12, 14)
    with torch.no_grad():
        made(x)
        features = made.head(x).clone()
        for width, block in zip([8, 4, 8], made.blocks, strict=True):
            features[:, :width] = block(features[:, :width].clone())
    assert torch.equal(seen[0], features)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"attention": "none"}, 1),
        ({"attention": "none", "unshuffle": True}, 1),
        ({"attention": ["gate", "lia", "span"]}, 7),
        ({"attention": "lia", "unshuffle": True}, 13),
    ],
)
def test_the_smallest_image_is_that_of_the_attentions(options, least):
    made = network(**options)
    assert made.min_size == least
    assert made(torch.rand(1, 3, least, least)).shape == (1, 3, 2 * least, 2 * least)
    if least > 1:
        with pytest.raises(RuntimeError):
            made(torch.rand(1, 3, least - 1, least))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"convs": [2, 2]}, "convs has 2 values, widths has 3; give one for each block"),
        ({"attention": ["lia"]}, "attention has 1 value, widths has 3"),
        ({"num_feat": 7}, "widths has 8, but num_feat is 7; give the largest width or more"),
        ({"convs": 9}, "space: convs: Input should be less than or equal to 8, got 9"),
        ({"convs": [2, 2, 0]}, r"space: convs\.2: Input should be greater than or equal to 1"),
        ({"attention": ["none", "lai", "none"]}, r"space: attention\.1: Input should be 'none'"),
        ({"widths": []}, "space: widths: List should have at least 1 item"),
        ({"reparameterize": "dbb"}, "space: reparameterize: Input should be 'none', 'rep_mbconv'"),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_line(options, told):
    with pytest.raises(UserError, match=told) as caught:
        network(**options)
    assert "\n" not in str(caught.value)


def test_a_training_keeps_the_branches_and_writes_plain_convolutions(tmp_path, photo_folder):
    space = {**SMALL, "widths": [4, 4], "attention": "none", "reparameterize": "rep_mbconv"}
    options = train_options(tmp_path, photo_folder, space=space, steps=8, init=None)
    file = train(check_options("train", options, "t"))
    checkpoint = load_tensors(file.parent / "checkpoints" / "last.pt")
    assert "blocks.0.convs.0.expand.weight" in checkpoint["parts"]["network"]
    tensors, model = load_file(file), load_model(file)
    assert "blocks.0.convs.0.weight" in tensors
    assert not any("expand" in key for key in tensors)
    assert model.space.options.reparameterize == "none"
    assert model.provenance["options"]["space"]["reparameterize"] == "rep_mbconv"
    average = {
        key.removeprefix("module."): tensor
        for key, tensor in checkpoint["parts"]["ema"].items()
        if key.startswith("module.")
    }
    branches = derived_network(check_space(space), GENOTYPE).eval()
    branches.load_state_dict(average)
    expected, found = outputs(never_merged(branches), model.network)
    assert (found - expected).abs().max() < 1e-5
    page = (srnas("report", file.parent), (file.parent / "report.html").read_text())[1]
    assert "4: 2 conv 3x3" in page
    assert f"{sum(t.numel() for k, t in tensors.items() if k != 'srnas_network'):,}" in page


def test_patches_smaller_than_the_pooling_are_told(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, space={**SMALL, "unshuffle": True})
    options["data"]["hr_patch"] = 24
    with pytest.raises(UserError, match=r"data\.hr_patch: 24 is 12 .* needs 13; give 26 or more"):
        train(check_options("train", options, "t"))


def test_there_is_nothing_to_search_which_is_told_in_one_line(tmp_path, photo_folder):
    assert not is_open("plain")
    assert is_open("imdn")
    with pytest.raises(UserError, match=r"space 'plain' leaves nothing to choose.* train its netw"):
        Supernet(space_builder("plain"), "plain")
    search = {"name": "s", "space": "plain", "epochs": 1, "steps_per_epoch": 1}
    search |= {"weight_optimizer": {"lr": 1e-3}, "alpha_optimizer": {"lr": 1e-3}}
    search["data"] = {key: {"packaged": key} for key in ("train", "alpha", "val")}
    done = srnas("search", "-opt", write_options(tmp_path / "s.yml", search))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "leaves nothing to choose" in done.stderr
    init = srnas("init", photo_folder, "--space", "plain", "--out", tmp_path)
    assert init.returncode == 2
    assert "--space plain: leaves nothing to choose" in init.stderr
    assert str(GENOTYPE) == "no choices"


SEARCHED = {
    "name": "plain",
    "widths": [8, 4, 8],
    "search_widths": [4, 8],
    "search_convs": [1, 2],
    "search_attention": ["none", "gate", "span"],
}
NARROWED = {
    "name": "plain",
    "widths": [8, 4, 8],
    "num_feat": 10,
    "attention": ["lia", "gate", "spanv2"],
    "convs": 3,
    "search_widths": [3, 4, 8],
    "search_feat": [4, 6, 10],
    "search_hidden": [2, 5, 8],
    "search_convs": [1, 2, 3],
}


def test_widths_convolutions_and_attentions_of_each_block_are_open():
    net = Supernet(space_builder(SEARCHED), "plain")
    assert {label: choice.names for label, choice in net.choices.items()} == {
        f"block{number}/{label}": names
        for number in (1, 2, 3)
        for label, names in (
            ("width", ["4", "8"]),
            ("convs", ["1", "2"]),
            ("attention", ["none", "gate", "span"]),
        )
    }
    published = published_genotype(SEARCHED).choices
    assert [published[f"block{n}/width"] for n in (1, 2, 3)] == [8, 4, 8]
    assert published["block1/convs"] == 2


def assert_one_hot_is_derived(space, genotype):
    """A supernet with the choices for weights computes what the network does, which is returned."""
    torch.manual_seed(0)
    net = Supernet(space_builder(space), "plain").double()
    choices = net.network.read_choices(genotype.choices)
    rows = {}
    for choice in net.choices.whole:
        rows |= choice.encode(choices[choice.place])
    derived = derived_network(space, genotype).double()
    derived.load_state_dict(inherited(net, derived, choices))
    x = torch.rand(1, 3, 11, 14, dtype=torch.float64)
    with net.replaced({k: torch.tensor(row, dtype=torch.float64) for k, row in rows.items()}):
        torch.testing.assert_close(net(x), derived(x), atol=1e-10, rtol=0)
    return derived, x


@pytest.mark.parametrize("seed", range(4))
def test_with_one_hot_weights_the_supernet_is_the_derived_network_of_its_weights(seed):
    (genotype,) = sample_genotypes(SEARCHED, 4, 0)[seed : seed + 1]
    derived, x = assert_one_hot_is_derived(SEARCHED, genotype)
    fixed = {
        **SEARCHED,
        "search_widths": None,
        "search_convs": None,
        "search_attention": None,
        "num_feat": 8,
        "widths": [genotype.choices[f"block{n}/width"] for n in (1, 2, 3)],
        "convs": [genotype.choices[f"block{n}/convs"] for n in (1, 2, 3)],
        "attention": [genotype.choices[f"block{n}/attention"] for n in (1, 2, 3)],
    }
    stated = derived_network(fixed, published_genotype(fixed)).double()
    stated.load_state_dict(derived.state_dict())
    assert torch.equal(stated(x), derived(x))


@pytest.mark.parametrize("seed", range(8))
def test_channels_between_and_in_blocks_are_the_first_ones_of_the_supernet(seed):
    (genotype,) = sample_genotypes(NARROWED, 8, 0)[seed : seed + 1]
    derived, _ = assert_one_hot_is_derived(NARROWED, genotype)
    feat = genotype.choices["feat"]
    assert derived.head.weight.shape[0] == feat + 3
    for number, block in enumerate(derived.blocks, 1):
        width, hidden, convs = (
            genotype.choices[f"block{number}/{name}"] for name in ("width", "hidden", "convs")
        )
        wide = min(width, feat)
        inner = min(hidden, wide)
        assert block.convs[-1].weight.shape[0] == block.convs[0].weight.shape[1] == wide
        assert [conv.weight.shape[0] for conv in block.convs[:-1]] == [inner] * (convs - 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_blocks_are_the_first_ones(count):
    space = {**NARROWED, "search_blocks": [1, 2, 3]}
    chosen = {**sample_genotypes(NARROWED, 3, 0)[2].choices, "blocks": count}
    derived, x = assert_one_hot_is_derived(space, Genotype("plain", chosen))
    assert len(derived.blocks) == count
    rest = {key: value for key, value in chosen.items() if key != "blocks"}
    inside = {
        key: value
        for key, value in rest.items()
        if not key.startswith("block") or int(key[5]) <= count
    }
    short = {
        **NARROWED,
        "widths": NARROWED["widths"][:count],
        "attention": NARROWED["attention"][:count],
    }
    stated = derived_network(short, Genotype("plain", inside)).double()
    stated.load_state_dict(derived.state_dict())
    assert torch.equal(stated(x), derived(x))
    assert published_genotype(space).choices["blocks"] == 3


def test_channels_that_cannot_be_are_one_line():
    for options, text in (
        ({"search_blocks": [2, 4]}, "search_blocks has 4, but widths has 3; give numbers up to"),
        ({"search_hidden": [4], "reparameterize": "ecb"}, "search_hidden needs reparameterize"),
        ({"search_feat": [9], "num_feat": 8}, "search_feat has 9, but num_feat is 8"),
    ):
        with pytest.raises(UserError, match=text):
            derived_network({**SMALL, **options}, GENOTYPE)
