"""Denoising, the worked example of a task: it searches, trains, evaluates and exports."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import srnas
from srnas.choice import Genotype
from srnas.data.images import read_rgb, write_rgb
from srnas.data.packaged import packaged_pairs
from srnas.distributed import Process
from srnas.errors import UserError
from srnas.files import read_json_lines
from srnas.spaces import derived_network, published_genotype
from srnas.tasks.denoising.noise import NoisyBatches, noisy
from srnas.tasks.denoising.task import denoise
from tests.helpers import killed_and_resumed, write_options
from tests.helpers import srnas as command

CPU = Process(torch.device("cpu"))
TINY = {"name": "dncnn", "num_feat": 16, "num_block": 1}
SHORT = {
    "space": TINY,
    "threads": 1,
    "device": "cpu",
    "log_every": 2,
    "checkpoint_every": 3,
}


def test_noise_has_its_standard_deviation_and_the_psnr_of_the_closed_form():
    gray = np.full((200, 300, 3), 128, np.uint8)
    noise = noisy(gray, 25, seed=0) - 128
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.3)
    mse = 25**2
    level = peak_signal_noise_ratio(gray / 1.0, noise + 128, data_range=255)
    assert level == pytest.approx(10 * math.log10(255**2 / mse), abs=0.05)


def test_batches_are_clean_patches_plus_noise_whatever_the_number_of_processes():
    images = packaged_pairs("alpha")
    noisy_patches, clean = next(NoisyBatches(images, 50, 24, 8, 0, CPU))
    assert clean.shape == (8, 3, 24, 24)
    assert ((noisy_patches - clean) * 255).std().item() == pytest.approx(50, rel=0.05)
    shares = [
        next(NoisyBatches(images, 50, 24, 8, 0, Process(torch.device("cpu"), rank, 2)))
        for rank in (0, 1)
    ]
    for whole, *parts in zip((noisy_patches, clean), *shares, strict=True):
        assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)


def test_a_network_that_removes_nothing_gives_the_noisy_image_back(photo):
    network = derived_network(TINY, published_genotype("dncnn"))
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    given = noisy(photo, 25, seed=3)
    expected = given.clip(0, 255).round()
    assert np.abs(denoise(network, given, torch.device("cpu")) - expected).max() <= 1


def test_dncnn_has_the_published_depth_and_width():
    # DnCNN-B for colour: conv 3 -> 64, 18 times conv 64 -> 64 with BatchNorm, conv 64 -> 3
    with torch.device("meta"):
        network = derived_network("dncnn", published_genotype("dncnn"))
    expected = (27 * 64 + 64) + 18 * (9 * 64 * 64 + 64 + 2 * 64) + (9 * 64 * 3 + 3)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_it_searches_trains_tests_and_exports_on_real_photographs(tmp_path):
    found = srnas.search(
        "search/denoising_demo.yml", experiments=tmp_path, epochs=2, steps_per_epoch=6,
        warmup_epochs=1, val_every_epochs=1, **SHORT,
    )  # fmt: skip
    assert found.genotype.space == "dncnn"
    rows = read_json_lines(found.folder / "metrics.jsonl")
    noise_level = next(row["val_noisy_psnr"] for row in rows if "val_noisy_psnr" in row)
    assert noise_level == pytest.approx(20 * math.log10(255 / 25), abs=0.05)

    trained = srnas.train(
        "train/denoising_demo.yml", genotype=found.genotype, experiments=tmp_path, steps=300,
        val_every=150, optimizer={"lr": {"name": "one_cycle", "peak": 8e-3}}, ema=0.9, **SHORT,
    )  # fmt: skip
    last = {}
    for row in read_json_lines(trained.folder / "metrics.jsonl"):
        last.update(row)
    assert last["val_psnr"] > last["val_noisy_psnr"] + 3
    assert last["test_psnr"] > last["test_noisy_psnr"] + 3

    result = srnas.evaluate(trained.model, {"photographs": "packaged"}, sigma=25)
    assert result["photographs"]["psnr"] == pytest.approx(last["test_psnr"])
    values = []
    for number, pair in enumerate(packaged_pairs("test")):
        clean = read_rgb(pair.hr)
        restored = denoise(trained.model.network, noisy(clean, 25, number), torch.device("cpu"))
        values.append(peak_signal_noise_ratio(clean, restored, data_range=255))
    assert result["photographs"]["psnr"] == pytest.approx(np.mean(values))

    file = trained.folder / "model.safetensors"
    done = command("export", "--model", file, "--out", tmp_path / "m.onnx")
    assert done.returncode == 0, done.stderr
    assert "model of space 'dncnn': c1=" in command("check", file).stdout
    assert "IMAGE 1280x720" in command("profile", "--model", file).stdout
    refused = command("upscale", "--model", file, "x.png", "--out", tmp_path)
    assert refused.returncode == 2
    assert "a network for denoising (DnCNN) has no scale" in refused.stderr


def test_a_killed_search_resumes_to_the_same_bits(tmp_path):
    content = {"name": "search", **SHORT, "epochs": 4, "steps_per_epoch": 5, "space": TINY}
    content["data"] = {"train": {"packaged": "val"}, "batch_size": 4}
    content |= {name: {"lr": 1e-3} for name in ("weight_optimizer", "alpha_optimizer")}
    file = write_options(tmp_path / "o.yml", content)
    killed_and_resumed("search", file, tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"data": {"sigma": 0}}, r"data\.sigma: .*greater than 0"),
        ({"data": {"hr_patch": 40}}, r"data: unknown key 'hr_patch'"),
        ({"data": {"train": {"packaged": None}}}, r"data\.train: give one of folder"),
        ({"data": {"train": {"packaged": "val"}, "val": {"packaged": "val"}}}, "is in both"),
        ({"data": {"patch": 4000}}, "is smaller than"),
        ({"nb201_table": "x.csv"}, "unknown key 'nb201_table'"),
    ],
)
def test_what_does_not_fit_is_a_user_error(tmp_path, change, expected):
    with pytest.raises(UserError, match=expected):
        srnas.search("search/denoising_demo.yml", experiments=tmp_path / "runs", **SHORT, **change)
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_photographs_is_evaluated(tmp_path, photo):
    write_rgb(tmp_path / "set/a.png", photo[:64, :80])
    network = derived_network(TINY, Genotype("dncnn", {"c1": "conv_3x3_bn", "c2": "conv_5x5_bn"}))
    from srnas.tasks.denoising import Denoising

    result = Denoising.evaluate(network, tmp_path / "set", device="cpu", sigma=10)
    assert result["set"]["noisy_psnr"] == pytest.approx(20 * math.log10(255 / 10), abs=0.2)
