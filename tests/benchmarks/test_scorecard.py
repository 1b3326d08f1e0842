"""The scorecard: what NTIRE's challenge reports, for several models side by side."""

import pytest
import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from skimage.metrics import peak_signal_noise_ratio

from srnas.data.images import ImagePair
from srnas.errors import UserError
from srnas.model_file import load_model
from srnas.tasks.super_resolution.evaluate import NetworkUpscale
from tests.benchmarks.test_benchmark import run, tiny_model


@pytest.fixture
def files(tmp_path):
    """Three models, two of them equal."""
    named = {"b": 0, "a": 1, "c": 0}
    return [tiny_model(tmp_path / f"{name}.safetensors", seed) for name, seed in named.items()]


@pytest.fixture
def card(files, photo_folder):
    return run(files[0], photo_folder, beside=files[1:], scorecard=True)["scorecard"]


def test_its_models_are_in_the_order_of_the_options_and_have_every_figure(card, files):
    assert [model["model"] for model in card["models"]] == list(map(str, files))
    assert (card["lr"], card["rgb"], card["y"]) == ("256x256", "ntire_esr", "basicsr")
    assert card["timed_on"] == "S"
    assert card["device"].startswith("cpu")
    for model in card["models"]:
        assert model["peak_memory"] is None, "not measured on the CPU"
        assert model["runtime_ms"] > 0
    first, second, equal = (
        {key: value for key, value in model.items() if key not in ("model", "runtime_ms")}
        for model in card["models"]
    )
    assert first == equal
    assert first["psnr_rgb"] != second["psnr_rgb"]


def test_its_counts_are_fvcores_at_256x256(card, files):
    network = load_model(files[0]).network
    image = torch.rand(1, 3, 256, 256)
    for key, analysis in (("macs", FlopCountAnalysis), ("activations", ActivationCountAnalysis)):
        theirs = analysis(network, image)
        theirs.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        assert card["models"][0][key] == theirs.total()


def test_its_psnr_is_scikit_images_on_rgb_and_the_main_protocols_on_y(card, files, photo_folder):
    upscale = NetworkUpscale(load_model(files[1]).network, torch.device("cpu"))
    values = []
    for file in sorted(photo_folder.iterdir()):
        lr, hr = ImagePair(file.stem, file).load(2)
        inner = (slice(2, -2), slice(2, -2))
        values.append(peak_signal_noise_ratio(hr[inner], upscale(lr)[inner], data_range=255))
    assert card["models"][1]["psnr_rgb"]["S"] == pytest.approx(sum(values) / len(values))
    for protocol, y in (("imdn_script", "imdn_script"), ("ntire_esr", "basicsr")):
        alone = run(files[1], photo_folder, protocol=y)["results"][0]["psnr"]
        given = run(files[1], photo_folder, protocol=protocol, scorecard=True)["scorecard"]
        assert given["y"] == y
        assert given["models"][0]["psnr_y"] == {"S": alone}
        assert given["models"][0]["psnr_rgb"] == card["models"][1]["psnr_rgb"]


def test_it_changes_no_result_of_the_test(files, photo_folder):
    plain = run(files[0], photo_folder, explain=True)
    with_card = run(files[0], photo_folder, explain=True, scorecard=True)
    assert "scorecard" not in plain
    assert {**plain, "scorecard": with_card["scorecard"]} == with_card


def test_it_is_not_of_eight_passes(files, photo_folder):
    with pytest.raises(UserError, match="single passes; leave out self_ensemble"):
        run(files[0], photo_folder, scorecard=True, self_ensemble=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_memory_of_a_model_does_not_depend_on_those_beside_it(files, photo_folder):
    alone, beside = (
        run(files[0], photo_folder, device="cuda", scorecard=True, beside=others)["scorecard"]
        for others in ([], files[1:])
    )
    weights = 4 * alone["models"][0]["params"]
    largest = 4 * 8 * 256 * 256  # one layer of 8 channels
    assert alone["models"][0]["peak_memory"] > weights + largest
    for model in beside["models"]:
        assert model["peak_memory"] == pytest.approx(alone["models"][0]["peak_memory"], rel=0.05)
