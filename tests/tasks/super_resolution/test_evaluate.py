"""The published networks on the benchmark sets, and tiles."""

import numpy as np
import pytest
import torch

from srnas.data.bicubic import resize_uint8
from srnas.data.images import DecodedPair, benchmark_pairs
from srnas.errors import UserError
from srnas.model_file import load_published
from srnas.spaces import check_space, derived_network, published_genotype
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, bicubic, evaluate
from srnas.tasks.super_resolution.protocols import EVERY_PROTOCOL, PROTOCOLS
from srnas.tasks.super_resolution.task import SuperResolution
from srnas.tasks.super_resolution.tiles import Tiled

FILES, MADE = True, False
# Set, scale, LR, PSNR in dB, SSIM: measured with the published weights by another program.
IMDN = [
    ("Set5", 2, FILES, 37.9960, 0.960493),
    ("Set5", 3, FILES, 34.3597, 0.926976),
    ("Set5", 4, FILES, 32.2096, 0.894763),
    ("Set14", 2, FILES, 33.6321, 0.917737),
    ("Set14", 4, FILES, 28.5869, 0.781105),
    ("Set5", 2, MADE, 38.0062, 0.960610),
    ("Set5", 3, MADE, 34.3644, 0.927078),
    ("Set5", 4, MADE, 32.2047, 0.894752),
    ("Set14", 2, MADE, 33.6383, 0.917857),
]
BICUBIC = [
    ("Set5", 2, 33.678, 0.93042),
    ("Set5", 3, 30.404, 0.86895),
    ("Set5", 4, 28.431, 0.81126),
    ("Set14", 2, 30.329, 0.86997),
    ("Set14", 3, 27.635, 0.77595),
    ("Set14", 4, 26.093, 0.70491),
]


def published(shared, scale):
    space = check_space({"name": "imdn", "scale": scale}, "test")
    return load_published(shared / "checkpoints" / f"IMDN_x{scale}.pth", space).network


@pytest.mark.parametrize(("name", "scale", "lr_files", "psnr", "ssim"), IMDN)
def test_published_imdn_reaches_the_published_figures(shared, name, scale, lr_files, psnr, ssim):
    pairs = benchmark_pairs(shared / "data" / name, scale, lr_files)
    upscale = NetworkUpscale(published(shared, scale), torch.device("cpu"))
    result = evaluate(upscale, pairs, scale, PROTOCOLS["basicsr"])
    assert result["psnr"] == pytest.approx(psnr, abs=0.0005 if lr_files else 0.002)
    assert result["ssim"] == pytest.approx(ssim, abs=1e-5)
    assert [image["name"] for image in result["images"]] == [pair.name for pair in pairs]


DLSR = [
    ("DLSR_x2.pth", "Set5", 38.0387, 0.960614),
    ("DLSR_x2.pth", "Set14", 33.6350, 0.918381),
    ("DLSR_tiny18_x2.pth", "Set5", 37.7144, 0.959485),
    ("DLSR_tiny18_x2.pth", "Set14", 33.2686, 0.915108),
]


@pytest.mark.parametrize(("file", "name", "psnr", "ssim"), DLSR)
def test_published_dlsr_reaches_the_published_figures(shared, file, name, psnr, ssim):
    model = load_published(shared / "checkpoints" / file, check_space("dlsr", "test"))
    upscale = NetworkUpscale(model.network, torch.device("cpu"))
    pairs = benchmark_pairs(shared / "data" / name, 2)
    result = evaluate(upscale, pairs, 2, PROTOCOLS["basicsr"])
    assert result["psnr"] == pytest.approx(psnr, abs=0.0005)
    assert result["ssim"] == pytest.approx(ssim, abs=1e-5)


def test_an_image_too_small_for_dlsrs_attention_is_told():
    network = derived_network({"name": "dlsr", "num_feat": 8}, published_genotype("dlsr"))
    upscale = NetworkUpscale(network, torch.device("cpu"))
    assert upscale(np.zeros((15, 15, 3), np.uint8)).shape == (30, 30, 3)
    with pytest.raises(UserError, match=r"20x14 is too small .* at least 15"):
        upscale(np.zeros((14, 20, 3), np.uint8))


@pytest.mark.parametrize(("name", "scale", "psnr", "ssim"), BICUBIC)
def test_bicubic_reaches_the_published_figures(shared, name, scale, psnr, ssim):
    pairs = benchmark_pairs(shared / "data" / name, scale)
    result = evaluate(bicubic(scale), pairs, scale, PROTOCOLS["basicsr"])
    assert result["psnr"] == pytest.approx(psnr, abs=0.005)
    assert result["ssim"] == pytest.approx(ssim, abs=1e-5)


def test_a_validation_tells_bicubics_published_psnr_beside_the_networks(shared):
    pairs = benchmark_pairs(shared / "data/Set5", 4)
    task = SuperResolution(4, torch.nn.L1Loss(), pairs, torch.device("cpu"))
    network = torch.nn.Upsample(scale_factor=4)
    first, second = (task.validate(network) for _ in range(2))
    assert first == second
    assert first["bicubic_psnr"] == pytest.approx(28.431, abs=0.005)
    assert first["psnr"] < first["bicubic_psnr"]


EXPLAINED = {  # IMDN x4, Set5: PSNR under other protocols and common mistakes
    "basicsr": 32.210,
    "imdn_script": 32.187,
    "no crop": 32.106,
    "ntire_esr": 30.301,
    "OpenCV Y": 30.879,
}


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (4, 4), (5, 3), (24, 4), (25, 4)])
def test_a_few_images_that_stand_for_all_are_spread_over_them(count, kept, photo):
    hr = photo[:16, :16]
    pairs = [DecodedPair(str(number), hr[::2, ::2], hr) for number in range(count)]
    task = SuperResolution(2, torch.nn.L1Loss(), [], torch.device("cpu"))
    task.val = pairs
    few = task.with_few(4)
    assert (few.val_count, task.val_count) == (kept, count)
    names = [int(pair.name) for pair in few.val]
    assert len(set(np.diff(names))) <= 1, "at equal steps"


def test_other_protocols_and_mistakes_give_the_known_figures(shared):
    pairs = benchmark_pairs(shared / "data/Set5", 4)
    upscale = NetworkUpscale(published(shared, 4), torch.device("cpu"))
    result = evaluate(upscale, pairs, 4, PROTOCOLS["basicsr"], others=EVERY_PROTOCOL)
    measured = {row["protocol"]: row["psnr"] for row in result["explained"]}
    for name, psnr in EXPLAINED.items():
        assert measured[name] == pytest.approx(psnr, abs=0.003), name
    # the same luma up to the divisor, 255 or 256, without the rounding of the coefficients
    assert measured["edsr"] == pytest.approx(measured["basicsr"], abs=0.001)


def test_self_ensemble_is_the_mean_over_numpys_eight_turns():
    torch.manual_seed(0)
    network = derived_network({"name": "imdn", "num_feat": 8}, published_genotype("imdn")).eval()
    lr = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)

    def run(image):
        with torch.no_grad():
            x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
            return network(x)[0].permute(1, 2, 0).numpy()

    results = []
    for turns in range(4):
        for flip in (False, True):
            turned = np.rot90(lr, turns)
            sr = run(turned[:, ::-1] if flip else turned)
            results.append(np.rot90(sr[:, ::-1] if flip else sr, -turns))
    expected = np.mean(results, 0).clip(0, 1) * 255
    ensemble = NetworkUpscale(network, torch.device("cpu"), self_ensemble=True)(lr)
    assert np.abs(ensemble - expected).max() <= 0.501
    assert not np.array_equal(ensemble, NetworkUpscale(network, torch.device("cpu"))(lr))


def test_tiles_of_a_local_operation_are_the_whole_inside_and_blend_without_seams(photo):
    whole = resize_uint8(photo, 2)
    for tile, overlap in ((64, 16), (100, 8), (1000, 16)):
        tiled = Tiled(bicubic(2), 2, tile, overlap)(photo)
        assert tiled.shape == whole.shape
        # bicubic reaches two pixels, and a tile's border mirrors: a small difference, faded
        assert np.abs(tiled.astype(int) - whole).max() <= 8
    assert np.array_equal(Tiled(bicubic(2), 2, 451, 16)(photo), whole)


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (32, 16), (10, -1)])
def test_tiles_that_do_not_fit_are_told(tile, overlap):
    with pytest.raises(UserError, match="less than half a tile"):
        Tiled(bicubic(2), 2, tile, overlap)


@pytest.mark.parametrize("side", [17, 64, 65, 112, 113])
def test_tiles_cover_every_pixel(side):
    constant = np.full((side, side + 3, 3), 77, np.uint8)
    tiled = Tiled(lambda lr: lr.repeat(2, 0).repeat(2, 1), 2, 64, 16)(constant)
    assert np.array_equal(tiled, np.full((2 * side, 2 * side + 6, 3), 77, np.uint8))


def test_an_output_that_is_not_finite_is_told():
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.full((1, 3, 2 * x.shape[2], 2 * x.shape[3]), float("nan"))

    upscale = NetworkUpscale(Broken(), torch.device("cpu"))
    with pytest.raises(UserError, match="not finite"):
        upscale(np.zeros((8, 8, 3), np.uint8))
