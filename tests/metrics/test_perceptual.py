"""LPIPS and DISTS: pyiqa called directly, and what is told where a package or a file is missing."""

import sys

import numpy as np
import pytest
import torch
from torchvision import models

from srnas.errors import UserError
from srnas.metrics import METRICS

NAMES = ("lpips", "lpips_vgg", "dists")
BACKBONES = {"lpips": "alexnet", "lpips_vgg": "vgg16", "dists": "vgg16"}


def own_weights(name):
    """Random weights of a metric itself, in the form of pyiqa's files."""
    generator = torch.Generator().manual_seed(1)
    if name == "dists":
        channels = 3 + 64 + 128 + 256 + 512 + 512
        shapes = dict.fromkeys(("alpha", "beta"), (1, channels, 1, 1))
    else:
        widths = (64, 192, 384, 256, 256) if name == "lpips" else (64, 128, 256, 512, 512)
        shapes = {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(widths)}
    return {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}


def backbone_weights(name):
    """Random weights of a network of torchvision; the classifier, which no metric reads, is 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {key: x.shape for key, x in getattr(models, name)().state_dict().items()}
    state = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    for key, shape in shapes.items():
        if key.startswith("features"):
            fan_in = shape[1:].numel()
            state[key] = torch.randn(shape, generator=generator) * (2 / max(1, fan_in)) ** 0.5
    return state


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """A hub folder of torch with random weights under the names of the real files."""
    hub = tmp_path_factory.mktemp("hub")
    (hub / "checkpoints").mkdir()
    (hub / "pyiqa").mkdir()
    for name in NAMES:
        backbone, own = METRICS[name].files
        if not (hub / "checkpoints" / backbone).exists():
            torch.save(backbone_weights(BACKBONES[name]), hub / "checkpoints" / backbone)
        torch.save(own_weights(name), hub / "pyiqa" / own)
    return hub


@pytest.fixture
def pyiqa(weight_files, monkeypatch):
    """The package, with its files and torchvision's in the temporary folder, and no network."""
    package = pytest.importorskip("pyiqa", reason="needs srnas[pyiqa]")
    from pyiqa.utils import download_util

    def refuse(url, *_, **__):
        raise AssertionError(f"a download of {url}")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(weight_files))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(download_util, "download_url_to_file", refuse)
    monkeypatch.setattr(download_util, "DEFAULT_CACHE_DIR", str(weight_files / "pyiqa"))
    return package


@pytest.fixture
def noisy(photo):
    noise = np.random.default_rng(0).normal(0, 8, photo.shape)
    return (photo + noise).clip(0, 255).round().astype(np.uint8)


def to_tensor(image):
    return torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_pyiqas(pyiqa, photo, noisy, name):
    metric = METRICS[name]()
    theirs = pyiqa.create_metric(name.replace("_", "-"), device=torch.device("cpu"))
    assert metric.higher_is_better != theirs.lower_better
    for border in (0, 4):
        inner = np.s_[border : len(photo) - border, border : photo.shape[1] - border]
        expected = theirs(to_tensor(noisy[inner]), to_tensor(photo[inner])).item()
        assert metric(noisy, photo, border) == pytest.approx(expected, rel=1e-5)
        assert expected > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_have_no_distance(pyiqa, photo, name):
    assert METRICS[name]()(photo, photo, 2) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_least_image_is_measured_and_a_smaller_one_is_told(pyiqa, photo, noisy, name):
    metric = METRICS[name]()
    side = metric.least
    assert np.isfinite(metric(noisy[:side, :40], photo[:side, :40], 0))
    with pytest.raises(ValueError, match=f"needs {side}x{side} pixels, got 40x{side - 1}"):
        metric(noisy[: side + 1, :42], photo[: side + 1, :42], 1)


def test_building_a_metric_leaves_the_random_generator_alone(pyiqa):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    METRICS["dists"]()
    assert torch.rand(1) == expected


def test_a_missing_file_is_named_with_where_to_get_it(pyiqa, weight_files, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with pytest.raises(UserError) as told:
        METRICS["lpips"]()
    assert str(told.value) == (
        f"metric lpips: no file {tmp_path}/checkpoints/alexnet-owt-7be5be79.pth; get "
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth and put it there, or name "
        "it in options: metrics: [{name: lpips, backbone: FILE}]"
    )
    backbone = weight_files / "checkpoints/vgg16-397923af.pth"
    with pytest.raises(
        UserError, match=r"pyiqa/DISTS_weights-f5e65c96\.pth; get http.* weights: FILE"
    ):
        METRICS["dists"](backbone=backbone)
    own = weight_files / "pyiqa/DISTS_weights-f5e65c96.pth"
    assert METRICS["dists"](backbone=backbone, weights=own)
    assert not list(tmp_path.iterdir()), "nothing is downloaded"


def test_other_weights_are_told(pyiqa, weight_files, tmp_path):
    own = weight_files / "pyiqa/LPIPS_v0.1_vgg-a78928a0.pth"
    with pytest.raises(UserError, match=r"vgg-a78928a0\.pth: other weights \(lin1\.model"):
        METRICS["lpips"](weights=own)
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(UserError, match=r"list\.pth: other weights \(features\.0\.weight is"):
        METRICS["lpips"](backbone=tmp_path / "list.pth")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError) as told:
        METRICS["lpips"]()
    assert str(told.value) == (
        "metric lpips needs pyiqa; install it with: pip install 'srnas[pyiqa]'"
    )
