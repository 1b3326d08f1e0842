"""The Python API: each function gives what the network, the file or the command gives."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import srnas
from srnas.data.images import write_rgb
from srnas.engine.stepper import SearchStepper
from srnas.files import read_json_lines
from srnas.model_file import NETWORK, load_published
from srnas.spaces import check_space
from srnas.tasks.classification.gratings import gratings
from tests.helpers import (
    ROOT,
    assert_same_run,
    class_options,
    class_train_options,
    search_options,
    together,
    train_options,
    write_options,
)
from tests.helpers import srnas as command

MODELS = ROOT / "tests/compatibility/v0_1_0/models"
LABELS = ("c1", "c2", "c3", "c4")
IMDN = dict.fromkeys(LABELS, "conv_3x3")
SEPARABLE = dict.fromkeys(LABELS, "ds_conv_3x3")
TINY = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}
CLOSED = {"search_rest": None, "search_feat": None}
SHORT = {"epochs": 2, "steps_per_epoch": 2}


@pytest.fixture
def imdn():
    """A tiny IMDN x2 with weights that a training of version 0.1.0 found."""
    return srnas.load(MODELS / "imdn.safetensors")


@pytest.fixture
def classifier():
    """A tiny cell of NAS-Bench-201, for 4 classes."""
    return srnas.load(MODELS / "nasbench201.safetensors")


@pytest.fixture
def small(photo):
    """A crop of a photograph, (30, 41, 3) uint8."""
    return photo[100:130, 200:241].copy()


def model_of(space, choices):
    """A model with random weights."""
    checked = check_space(space)
    genotype = srnas.Genotype(checked.name, choices)
    torch.manual_seed(0)
    return srnas.Model(srnas.derive(genotype, space).eval(), checked, genotype, {})


def by_hand(model, image):
    """What the network makes of an image, (H, W, 3) uint8: (3, 2H, 2W), not clipped."""
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        return model.network(x)[0]


def alphas(folder):
    return (folder / "alphas.jsonl").read_bytes()


# The package


def test_what_the_package_lists_is_what_it_has():
    assert set(dir(srnas)) == {*srnas.__all__, "__version__"}
    assert srnas.__all__ == sorted(set(srnas.__all__))
    for name in srnas.__all__:
        assert getattr(srnas, name).__name__ == name
        assert getattr(srnas, name).__doc__
    imported = {}
    exec("from srnas import *", imported)
    assert set(srnas.__all__) <= set(imported)


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'srnas' has no attribute 'serach'"):
        srnas.serach  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, srnas; dir(srnas); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_spaces_names_what_options_may_name():
    names = srnas.list_spaces()
    assert {"imdn", "dlsr", "darts", "nasbench201", "dncnn"} <= set(names)
    assert names == sorted(set(names))
    assert [check_space(name).name for name in names] == names


def test_list_methods_names_the_files_on_disk():
    files = sorted(file.stem for file in (ROOT / "options/methods").glob("*.yml"))
    assert srnas.list_methods() == files
    assert {"darts", "sa_darts", "sac_darts"} <= set(files)


# load


@pytest.mark.parametrize("kind", [str, Path])
def test_load_gives_the_network_of_the_file_ready_to_use(kind):
    model = srnas.load(kind(MODELS / "imdn.safetensors"))
    assert isinstance(model, srnas.Model)
    assert isinstance(model.network, torch.nn.Module)
    assert not any(module.training for module in model.network.modules())
    assert {p.device.type for p in model.network.parameters()} == {"cpu"}
    assert model.space.to_dict() == {**TINY, "candidates": None, "per_block": False, **CLOSED}
    assert model.genotype == srnas.Genotype("imdn", IMDN)
    x = np.random.default_rng(0).random((1, 3, 16, 20), dtype=np.float32)
    with torch.no_grad():
        output = model.network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(output, np.load(MODELS / "imdn.npy"), rtol=1e-3, atol=1e-5)


def test_load_tells_a_file_that_is_no_model(tmp_path):
    with pytest.raises(srnas.UserError, match=r"none\.safetensors: no such file"):
        srnas.load(tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(srnas.UserError, match=r"torn\.safetensors: not a whole safetensors file"):
        srnas.load(tmp_path / "torn.safetensors")


# upscale


def test_upscale_of_a_numpy_image_is_the_networks_output_clipped_and_rounded(imdn, small):
    before = small.copy()
    sr = srnas.upscale(imdn, small)
    output = by_hand(imdn, small).permute(1, 2, 0).numpy()
    assert (sr.dtype, sr.shape) == (np.uint8, (60, 82, 3))
    assert np.abs(sr - 255 * output.clip(0, 1)).max() <= 0.501
    assert (sr == np.rint(255 * output.clip(0, 1))).mean() > 0.999
    assert np.array_equal(small, before)


def test_upscale_clips_what_leaves_the_range_instead_of_wrapping_around(imdn):
    extreme = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    with torch.no_grad():
        imdn.network.get_parameter("upsample.0.weight").mul_(6)
    output = by_hand(imdn, extreme).permute(1, 2, 0).numpy()
    assert output.min() < -0.1
    assert output.max() > 1.1
    sr = srnas.upscale(imdn, extreme)
    assert (sr[output < -0.01] == 0).all()
    assert (sr[output > 1.01] == 255).all()
    exact = srnas.upscale(imdn, torch.from_numpy(extreme).permute(2, 0, 1) / 255)
    assert (exact.min(), exact.max()) == (0, 1)


@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [(torch.float32, 1e-6), (torch.float64, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_upscale_of_a_tensor_is_the_networks_output_clipped(imdn, small, dtype, rounding):
    image = (torch.from_numpy(small).permute(2, 0, 1) / 255).to(dtype)
    sr = srnas.upscale(imdn, image)
    with torch.no_grad():
        expected = imdn.network(image[None].float())[0].clamp(0, 1)
    assert (sr.dtype, sr.shape) == (dtype, (3, 60, 82))
    torch.testing.assert_close(sr.float(), expected, rtol=0, atol=rounding)


def test_what_upscale_gives_can_be_changed_and_differentiated(imdn):
    sr = srnas.upscale(imdn, torch.rand(3, 8, 8, requires_grad=True))
    sr.mul_(0.5)
    weight = torch.ones(1, requires_grad=True)
    (weight * sr).sum().backward()
    assert weight.grad == pytest.approx(float(sr.sum()), rel=1e-5)


def test_upscale_gives_the_same_for_any_strides(imdn, small):
    turned = np.asfortranarray(small[::-1, ::-1])
    expected = srnas.upscale(imdn, turned.copy(order="C"))
    assert np.array_equal(srnas.upscale(imdn, turned), expected)
    assert np.array_equal(srnas.upscale(imdn, small[::-1, ::-1]), expected)


@pytest.mark.parametrize(("tile", "overlap"), [(41, 16), (1000, 16), (41, 0)])
def test_a_tile_as_large_as_the_image_changes_nothing(imdn, small, tile, overlap):
    tiled = srnas.upscale(imdn, small, tile=tile, overlap=overlap)
    assert np.array_equal(tiled, srnas.upscale(imdn, small))


def test_tiles_without_overlap_are_the_networks_output_tile_by_tile(imdn, small):
    sr = srnas.upscale(imdn, small, tile=20, overlap=0)
    assert sr.shape == (60, 82, 3)
    for row in (0, 20):
        for column in (0, 20):
            lr = small[row : row + 20, column : column + 20]
            expected = 255 * by_hand(imdn, lr).clamp(0, 1).permute(1, 2, 0).numpy()
            part = sr[2 * row : 2 * row + 40, 2 * column : 2 * column + 40]
            assert np.abs(part - expected).max() <= 0.501


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8), np.uint8), r"image: \(8, 8\) uint8; a numpy image is \(H, W, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\) uint8"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\(1, 8, 8, 3\) uint8"),
        (np.zeros((8, 8, 3), np.float32), r"\(8, 8, 3\) float32; .* uint8 RGB"),
        (np.zeros((0, 8, 3), np.uint8), "8x0 is too small"),
        (torch.zeros(1, 3, 8, 8), r"image: \(1, 3, 8, 8\) torch.float32; a tensor is \(3, H, W\)"),
        (torch.zeros(8, 8, 3), r"\(8, 8, 3\) torch.float32"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"torch.uint8; .* floating point in \[0, 1\]"),
        (torch.zeros(3, 8, 0), "0x8 is too small"),
        ([[[0, 0, 0]]], "image: list; give a numpy image or a tensor"),
        ("photo.png", "image: str; give a numpy image or a tensor"),
    ],
)
def test_upscale_tells_an_image_of_another_form(imdn, image, told):
    with pytest.raises(srnas.UserError, match=told):
        srnas.upscale(imdn, image)


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (32, 16), (10, -1), (20, 16)])
def test_upscale_tells_tiles_that_do_not_fit(imdn, small, tile, overlap):
    with pytest.raises(srnas.UserError, match="overlap must be less than half a tile"):
        srnas.upscale(imdn, small, tile=tile, overlap=overlap)


def test_upscale_tells_that_tiles_are_for_numpy_images(imdn):
    with pytest.raises(srnas.UserError, match="tile: tiles are for numpy images"):
        srnas.upscale(imdn, torch.zeros(3, 8, 8), tile=8)


def test_upscale_tells_a_device_that_is_not_there(imdn, small):
    with pytest.raises(srnas.UserError, match="device: 'gpu' is not available here"):
        srnas.upscale(imdn, small, device="gpu")


def test_upscale_tells_a_network_that_does_not_enlarge(classifier, small):
    with pytest.raises(srnas.UserError, match=r"a network for classification .* has no scale"):
        srnas.upscale(classifier, small)


# search


def test_a_file_a_mapping_and_keywords_give_the_search_of_the_command(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder, **SHORT)
    file = write_options(tmp_path / "search.yml", content)
    whole = command("search", "-opt", file, f"experiments={tmp_path / 'command'}")
    assert whole.returncode == 0, whole.stderr
    expected = tmp_path / "command/search"

    def into(folder):
        return {"experiments": tmp_path / folder}

    rest = {key: value for key, value in content.items() if key != "experiments"}
    found = {
        "path": srnas.search(file, **into("path")),
        "text": srnas.search(str(file), **into("text")),
        "mapping": srnas.search(content, **into("mapping")),
        "keywords": srnas.search(**rest, **into("keywords")),
    }
    for name, result in found.items():
        assert result.folder == tmp_path / name / "search"
        assert alphas(result.folder) == alphas(expected), name
        assert (result.folder / "genotype.json").read_bytes() == (
            expected / "genotype.json"
        ).read_bytes()
    written = json.loads((expected / "genotype.json").read_text())
    assert found["path"].genotype.choices == written["choices"]
    assert found["path"].genotype.provenance == written["provenance"]
    assert content == search_options(tmp_path, photo_folder, **SHORT), "the mapping was changed"


def test_a_bundled_recipe_takes_changes(tmp_path):
    result = srnas.search(
        "search/imdn_sac_demo.yml",
        name="mine",
        experiments=tmp_path,
        space={**TINY, "num_feat": 16},
        epochs=1,
        steps_per_epoch=1,
        warmup_epochs=0,
        threads=1,
        seed=3,
    )
    assert result.folder == tmp_path / "mine"
    options = result.genotype.provenance["options"]
    assert (options["seed"], options["space"]["num_feat"]) == (3, 16)
    assert (options["from_method"], options["partial_channels"]) == ("sac_darts", 4)
    assert set(result.genotype.choices) == set(LABELS)


def test_keywords_go_over_a_methods_options_and_its_other_options_stay(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder, epochs=1, steps_per_epoch=1, warmup_epochs=0)
    result = srnas.search(content, method="sac_darts", partial_channels=1)
    options = result.genotype.provenance["options"]
    assert options["from_method"] == "sac_darts"
    assert options["partial_channels"] == 1
    assert options["edge_normalization"] is True, "the method says so"
    terms = [regularizer["term"]["name"] for regularizer in options["regularizers"]]
    assert terms == ["smooth_activation", "expected_cost", "smooth_activation"]


def test_a_method_may_stand_in_the_mapping_too(tmp_path, photo_folder):
    short = {"epochs": 1, "steps_per_epoch": 1, "warmup_epochs": 0}
    space = {**TINY, "num_feat": 16}
    content = search_options(tmp_path, photo_folder, method="sac_darts", space=space, **short)
    options = srnas.search(content).genotype.provenance["options"]
    assert options["partial_channels"] == 4
    options = srnas.search(content, name="over", partial_channels=1).genotype.provenance["options"]
    assert options["partial_channels"] == 1
    options = srnas.search(content, name="other", method="darts").genotype.provenance["options"]
    assert (options["from_method"], options["partial_channels"]) == ("darts", 1)


def test_a_search_of_classifiers_runs_too(tmp_path):
    result = srnas.search(class_options(tmp_path, **SHORT))
    assert result.genotype.space == "nasbench201"
    assert len(read_json_lines(result.folder / "alphas.jsonl")) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 3}, r"srnas\.search: unknown key 'epoch'; did you mean 'epochs'\?"),
        ({"epochs": "many"}, r"srnas\.search: epochs: "),
        ({"space": "imnd"}, r"srnas\.search: space: no space is named 'imnd'; did you mean 'imdn'"),
        ({"method": "sa_dart"}, r"method: no file sa_dart\.yml"),
        ({"weight_optimizer": {"lr": 0.1, "momentun": 1}}, r"weight_optimizer.*'momentun'"),
    ],
)
def test_search_tells_a_wrong_option(tmp_path, photo_folder, change, told):
    content = search_options(tmp_path, photo_folder)
    with pytest.raises(srnas.UserError, match=told):
        srnas.search(content, **change)
    with pytest.raises(srnas.UserError, match=told):
        srnas.search({**content, **change})
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize("run", [srnas.search, srnas.train])
def test_missing_options_and_files_are_told(tmp_path, run):
    with pytest.raises(srnas.UserError, match=rf"srnas\.{run.__name__}: name: "):
        run()
    with pytest.raises(srnas.UserError, match=r"none\.yml"):
        run(tmp_path / "none.yml")
    with pytest.raises(
        srnas.UserError, match=rf"srnas\.{run.__name__}: list; give a file or a mapping"
    ):
        run([1, 2])


def test_the_file_stands_in_what_a_wrong_file_is_told(tmp_path, photo_folder):
    file = write_options(tmp_path / "mine.yml", search_options(tmp_path, photo_folder, epoch=3))
    with pytest.raises(srnas.UserError, match=r"mine\.yml: unknown key 'epoch'"):
        srnas.search(file)


def test_a_search_that_exists_is_refused_or_with_resume_returned(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder, **SHORT)
    first = srnas.search(content, resume=True)
    before = alphas(first.folder)
    with pytest.raises(srnas.UserError, match="this run exists"):
        srnas.search(content)
    again = srnas.search(content, resume=True)
    assert again == first
    assert again.genotype.provenance == first.genotype.provenance
    assert alphas(again.folder) == before
    with pytest.raises(srnas.UserError, match="seed was 0 when this run began"):
        srnas.search(content, resume=True, seed=1)


def interrupted(content):
    """Search, interrupted by SIGINT in the middle of step 8."""
    begin = SearchStepper.begin

    def interrupt(stepper, step):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        begin(stepper, step)

    with (
        mock.patch.object(SearchStepper, "begin", interrupt),
        pytest.raises(srnas.Interrupted, match="stopped at step 8 of 20"),
    ):
        srnas.search(content)


def test_an_interrupted_search_resumes_to_the_bits_of_a_whole_one(tmp_path, photo_folder):
    content = search_options(tmp_path, photo_folder, warmup_epochs=0)
    whole = srnas.search(content, experiments=tmp_path / "whole")
    # In a process of its own: where a runner of tests does not run them in its main thread, which
    # alone handles signals, SIGINT would end the runner.
    together((interrupted, content))
    folder = tmp_path / "experiments/search"
    assert len(read_json_lines(folder / "alphas.jsonl")) == 1  # of four epochs
    resumed = srnas.search(content, resume=True)
    assert resumed.folder == folder
    assert resumed.genotype == whole.genotype
    assert_same_run(whole.folder, folder)


# train


def test_train_gives_the_model_that_the_command_writes(tmp_path, photo_folder):
    content = train_options(tmp_path, photo_folder, steps=4)
    file = write_options(tmp_path / "train.yml", content)
    whole = command("train", "-opt", file, f"experiments={tmp_path / 'command'}")
    assert whole.returncode == 0, whole.stderr
    rest = {key: value for key, value in content.items() if key != "experiments"}
    results = [
        srnas.train(file, experiments=tmp_path / "path"),
        srnas.train(content, experiments=tmp_path / "mapping"),
        srnas.train(**rest, experiments=tmp_path / "keywords"),
    ]
    folders = [tmp_path / name / "train" for name in ("path", "mapping", "keywords")]
    assert [result.folder for result in results] == folders
    written = load_file(tmp_path / "command/train/model.safetensors")
    weights = {key: tensor for key, tensor in written.items() if key != NETWORK}
    for result in results:
        assert not result.model.network.training
        assert result.model.genotype == srnas.Genotype("imdn", IMDN), "the published network"
        assert result.model.provenance["step"] == 4
        torch.testing.assert_close(dict(result.model.network.state_dict()), weights, rtol=0, atol=0)
        stored = load_file(result.folder / "model.safetensors")
        torch.testing.assert_close(stored, written, rtol=0, atol=0)


@pytest.mark.parametrize("form", ["genotype", "choices", "content", "path", "text", "options"])
def test_train_takes_a_genotype_in_any_form(tmp_path, photo_folder, form):
    genotype = srnas.Genotype("imdn", SEPARABLE)
    file = tmp_path / "found.json"
    genotype.save(file)
    content = train_options(tmp_path, photo_folder, steps=1)
    given = {
        "genotype": genotype,
        "choices": SEPARABLE,
        "content": genotype.to_dict(),
        "path": file,
        "text": str(file),
        "options": None,
    }[form]
    if given is None:
        content["genotype"] = str(file)
    result = srnas.train(content, genotype=given)
    assert result.model.genotype == genotype
    assert json.loads((result.folder / "genotype.json").read_text())["choices"] == SEPARABLE
    depthwise = [
        module
        for module in result.model.network.modules()
        if isinstance(module, torch.nn.Conv2d) and module.groups == module.in_channels > 1
    ]
    assert len(depthwise) == len(LABELS)


def test_trains_genotype_goes_over_that_of_the_options(tmp_path, photo_folder):
    srnas.Genotype("imdn", IMDN).save(tmp_path / "file.json")
    content = train_options(tmp_path, photo_folder, steps=1, genotype=str(tmp_path / "file.json"))
    assert srnas.train(content, genotype=SEPARABLE).model.genotype.choices == SEPARABLE


def test_what_a_search_found_can_be_trained(tmp_path, photo_folder):
    found = srnas.search(search_options(tmp_path, photo_folder, **SHORT))
    trained = srnas.train(train_options(tmp_path, photo_folder, steps=1), genotype=found.genotype)
    assert trained.model.genotype == found.genotype
    stored = srnas.load(trained.folder / "model.safetensors").genotype
    assert stored.provenance == found.genotype.provenance


@pytest.mark.parametrize(
    ("genotype", "told"),
    [
        ({"c1": "conv_3x3"}, "c2"),
        ({**IMDN, "c1": "conv_9x9"}, "conv_9x9"),
        ({**IMDN, "c5": "conv_3x3"}, "c5"),
        (srnas.Genotype("dlsr", IMDN), "made for space 'dlsr', but the options say 'imdn'"),
        ({"format": "srnas-genotype", "version": 9}, "genotype: genotype version 9"),
        ("none.json", r"none\.json"),
        (7, "genotype: int; give a Genotype, choices or a file"),
    ],
)
def test_train_tells_a_genotype_that_does_not_fit(tmp_path, photo_folder, genotype, told):
    with pytest.raises(srnas.UserError, match=told):
        srnas.train(train_options(tmp_path, photo_folder, steps=1), genotype=genotype)
    assert not (tmp_path / "experiments").exists()


def test_a_training_that_exists_is_refused_or_with_resume_returned(tmp_path, photo_folder):
    content = train_options(tmp_path, photo_folder, steps=2)
    first = srnas.train(content, genotype=SEPARABLE)
    with pytest.raises(srnas.UserError, match="this run exists"):
        srnas.train(content, genotype=SEPARABLE)
    again = srnas.train(content, genotype=SEPARABLE, resume=True)
    assert again.folder == first.folder
    states = [result.model.network.state_dict() for result in (again, first)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    with pytest.raises(srnas.UserError, match="this run trains another genotype"):
        srnas.train(content, genotype=IMDN, resume=True)


def test_train_tells_a_wrong_option(tmp_path, photo_folder):
    with pytest.raises(srnas.UserError, match=r"srnas\.train: unknown key 'step'; .* 'steps'"):
        srnas.train(train_options(tmp_path, photo_folder), step=3)


def test_a_bundled_training_takes_changes_and_classifiers_train_too(tmp_path):
    short = {"experiments": tmp_path, "steps": 1, "threads": 1}
    trained = srnas.train("train/imdn_demo.yml", name="mine", space=TINY, **short)
    assert trained.folder == tmp_path / "mine"
    assert trained.model.space.to_dict()["num_feat"] == 8
    cell = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
    trained = srnas.train(class_train_options(tmp_path, steps=1), genotype={"cell": cell})
    assert trained.model.genotype.choices == {"cell": cell}


# evaluate


def test_evaluate_gives_the_published_figures(shared):
    model = load_published(shared / "checkpoints/IMDN_x2.pth", "imdn")
    figures = srnas.evaluate(model, {"Five": shared / "data/Set5"})
    assert list(figures) == ["Five"]
    assert figures["Five"]["psnr"] == pytest.approx(37.9960, abs=0.0005)
    assert figures["Five"]["ssim"] == pytest.approx(0.960493, abs=1e-5)
    names = [image["name"] for image in figures["Five"]["images"]]
    assert names == sorted(file.stem for file in (shared / "data/Set5/HR").iterdir())


@pytest.fixture
def benchmark(tmp_path, photo):
    """A set of two images, HR (64, 72) and LR, every other pixel of its negative."""
    for name in ("one", "two"):
        hr = photo[:64, :72] if name == "one" else photo[100:164, 100:172]
        write_rgb(tmp_path / "Own/HR" / f"{name}.png", hr)
        write_rgb(tmp_path / "Own/LR_bicubic/X2" / f"{name}x2.png", 255 - hr[::2, ::2])
    return tmp_path / "Own"


def luma_psnr(sr, hr):
    """PSNR on Y of BT.601 without a border of 2, in numpy float64."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    difference = (sr[2:-2, 2:-2].astype(float) - hr[2:-2, 2:-2]) @ weights
    return 10 * np.log10(255**2 / (difference**2).mean())


@pytest.mark.parametrize("kind", [str, Path])
def test_evaluate_of_one_folder_measures_what_the_network_makes_of_its_lr(
    imdn, photo, benchmark, kind
):
    hrs = {"one": photo[:64, :72], "two": photo[100:164, 100:172]}
    expected = {}
    for name, hr in hrs.items():
        sr = by_hand(imdn, 255 - hr[::2, ::2]).clamp(0, 1).permute(1, 2, 0).numpy()
        expected[name] = luma_psnr(np.rint(255 * sr), hr)
    figures = srnas.evaluate(imdn, kind(benchmark))
    assert list(figures) == ["Own"]
    measured = {image["name"]: image["psnr"] for image in figures["Own"]["images"]}
    assert measured == pytest.approx(expected, abs=1e-3)
    assert figures["Own"]["psnr"] == pytest.approx(np.mean(list(expected.values())), abs=1e-3)
    made = srnas.evaluate(imdn, kind(benchmark), lr="made")["Own"]["psnr"]
    assert abs(made - figures["Own"]["psnr"]) > 0.1, "LR was made from HR instead"


def test_evaluate_takes_the_packaged_photographs(imdn):
    figures = srnas.evaluate(imdn, "packaged")["packaged"]
    assert len(figures["images"]) > 1
    assert figures["psnr"] == pytest.approx(np.mean([i["psnr"] for i in figures["images"]]))


def test_evaluate_tells_data_and_protocols_that_are_not_there(imdn, tmp_path):
    with pytest.raises(srnas.UserError, match="protocol: did you mean 'basicsr'"):
        srnas.evaluate(imdn, "packaged", protocol="basic_sr")
    with pytest.raises(srnas.UserError, match="none: no such folder of images"):
        srnas.evaluate(imdn, {"one": tmp_path / "none"})
    with pytest.raises(srnas.UserError, match="device: 'gpu' is not available here"):
        srnas.evaluate(imdn, "packaged", device="gpu")


def test_evaluate_of_a_classifier_is_the_accuracy_by_hand(classifier):
    images, labels = gratings(4, 60 + 30, 16, seed=7)
    pixels = images[:60].numpy().astype(np.float64) / 255
    mean, std = (
        torch.from_numpy(figure(pixels, axis=(0, 2, 3))).float().view(3, 1, 1)
        for figure in (np.mean, np.std)
    )
    with torch.no_grad():
        logits = classifier.network((images[60:] / 255 - mean) / std)
    right = (logits.argmax(1) == labels[60:]).double().mean()
    data = {"name": "generated", "num_classes": 4, "train": 60, "test": 30, "side": 16, "seed": 7}
    figures = srnas.evaluate(classifier, data)
    assert figures["accuracy"] == pytest.approx(100 * float(right))
    assert figures["loss"] == pytest.approx(float(F.cross_entropy(logits, labels[60:])), rel=1e-4)


def test_evaluate_of_a_denoiser_knows_the_noise(tmp_path):
    write_rgb(tmp_path / "gray/0.png", np.full((128, 128, 3), 128, np.uint8))
    choices = derived_choices("dncnn")
    model = model_of({"name": "dncnn", "num_feat": 8}, choices)
    figures = srnas.evaluate(model, tmp_path / "gray", sigma=20)["gray"]
    assert figures["noisy_psnr"] == pytest.approx(20 * np.log10(255 / 20), abs=0.1)


# derive


def derived_choices(space):
    """The choices of a space's published network."""
    from srnas.spaces import published_genotype

    return published_genotype(space).choices


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_derive_from_choices_and_a_spaces_name_is_the_published_network():
    network = srnas.derive(IMDN, "imdn")
    assert isinstance(network, torch.nn.Module)
    assert parameters(network) == 694404, "what IMDN's authors count"
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("form", ["genotype", "choices", "content", "path", "text"])
def test_derive_takes_a_space_with_its_options_and_a_genotype_in_any_form(tmp_path, form):
    genotype = srnas.Genotype("imdn", SEPARABLE)
    file = tmp_path / "g.json"
    genotype.save(file)
    given = {
        "genotype": genotype,
        "choices": SEPARABLE,
        "content": genotype.to_dict(),
        "path": file,
        "text": str(file),
    }[form]
    network = srnas.derive(given, {**TINY, "scale": 3})
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 24, 24)
    depthwise = [
        module.in_channels
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d) and module.groups == module.in_channels > 1
    ]
    assert len(depthwise) == len(LABELS), "one a choice and block"


def test_derive_takes_the_space_of_the_genotypes_search(tmp_path):
    space = {**TINY, "scale": 4}
    genotype = srnas.Genotype("imdn", IMDN, {"options": {"space": space}})
    genotype.save(tmp_path / "g.json")
    for given in (genotype, tmp_path / "g.json", str(tmp_path / "g.json"), genotype.to_dict()):
        network = srnas.derive(given)
        assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 32, 32)
        assert next(network.parameters()).shape[0] == 8
    assert srnas.derive(genotype, TINY)(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 16, 16)


def test_derive_without_provenance_takes_the_spaces_defaults():
    assert parameters(srnas.derive(srnas.Genotype("imdn", IMDN))) == 694404


@pytest.mark.parametrize(
    ("genotype", "space", "told"),
    [
        (IMDN, None, "choices alone do not say their space; name it by space="),
        (IMDN, "imnd", "'imnd'; did you mean 'imdn'"),
        (IMDN, {"name": "imdn", "num_feats": 8}, "num_feat"),
        ({**IMDN, "c1": "conv_9x9"}, "imdn", "conv_9x9"),
        ({"c1": "conv_3x3"}, "imdn", "c2"),
        ({}, "imdn", "c1"),
        (srnas.Genotype("dlsr", IMDN), "imdn", "made for space 'dlsr'"),
        ({"format": "other"}, "imdn", "not a genotype"),
        ("none.json", "imdn", r"none\.json"),
        (None, "imdn", "genotype: NoneType; give a Genotype"),
    ],
)
def test_derive_tells_what_does_not_fit(genotype, space, told):
    with pytest.raises(srnas.UserError, match=told):
        srnas.derive(genotype, space)


def test_two_derivations_are_networks_of_their_own():
    torch.manual_seed(0)
    one, two = (srnas.derive(IMDN, TINY).state_dict() for _ in range(2))
    assert one.keys() == two.keys()
    assert any(not torch.equal(one[key], two[key]) for key in one)


def test_data_that_do_not_fit_the_evaluation_are_user_errors():
    classifier = srnas.load(MODELS / "nasbench201.safetensors")
    with pytest.raises(srnas.UserError, match="num_classes: 4, but the data has 9 classes"):
        srnas.evaluate(classifier, {"name": "generated", "num_classes": 9, "side": 8})
    with pytest.raises(srnas.UserError, match="lr: 'mad'; did you mean 'made'"):
        srnas.evaluate(srnas.load(MODELS / "imdn.safetensors"), "packaged", lr="mad")
