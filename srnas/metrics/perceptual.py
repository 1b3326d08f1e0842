"""LPIPS and DISTS by pyiqa (the extra `pyiqa`), with weight files on this machine.

pyiqa and torchvision would download missing files, and pyiqa would unpickle them. Here the networks
are built without weights. The weights are read as plain tensors from the folder of both packages,
torch's hub folder (`torch.hub.get_dir()`, ~/.cache/torch/hub or $TORCH_HOME/hub).
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srnas.errors import UserError
from srnas.files import load_tensors
from srnas.metrics import METRICS, Metric
from srnas.metrics.metric import Image, inside

# A key of a backbone's layer in pyiqa's networks; the group is its key in torchvision's.
BACKBONE = re.compile(r"(?:net\.slice|stage)\d+\.(\d+\.(?:weight|bias))")
TORCHVISION = "https://download.pytorch.org/models/"
PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/"


class Perceptual(Metric):
    """Base class of distances between features of a backbone, 0 for equal images.

    Attributes:
        name: Its name among the metrics.
        network: The module and the class of pyiqa, with its options.
        files: Names of the backbone's weight file and of the metric's own.
        own: Keys of what the latter holds.
        least: Least side of an image in pixels, without borders.

    Args:
        backbone: File of the backbone, pretrained on ImageNet by torchvision.
        weights: File of the metric's own weights, pyiqa's.

    Raises:
        UserError: pyiqa is not installed, or a file is missing or holds other weights.
    """

    higher_is_better = False
    name: ClassVar[str]
    network: ClassVar[tuple[str, str, dict[str, Any]]]
    files: ClassVar[tuple[str, str]]
    own: ClassVar[tuple[str, ...]]
    least: ClassVar[int]

    def __init__(self, *, backbone: Path | None = None, weights: Path | None = None) -> None:
        name = self.name
        module, kind, options = self.network
        arch = _pyiqa(module, name)
        hub = Path(torch.hub.get_dir())
        given = [
            _file(name, "backbone", backbone, hub / "checkpoints" / self.files[0], TORCHVISION),
            _file(name, "weights", weights, hub / "pyiqa" / self.files[1], PYIQA),
        ]
        with _without_weights(arch), torch.random.fork_rng(devices=[]):
            self.net: nn.Module = getattr(arch, kind)(pretrained=False, **options)
        layers = filter(None, map(BACKBONE.fullmatch, self.net.state_dict()))
        _load(self.net, given[0], {layer[0]: f"features.{layer[1]}" for layer in layers})
        _load(self.net, given[1], {key: key for key in self.own})
        self.net.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Compute on a device from now on."""
        self.net.to(device)
        self.device = device

    @torch.inference_mode()
    def __call__(self, sr: Image, hr: Image, border: int) -> float:
        images = [inside(image, border) for image in (sr, hr)]
        if min(images[0].shape[:2]) < self.least:
            height, width = images[0].shape[:2]
            raise ValueError(
                f"{self.title} needs {self.least}x{self.least} pixels, got {width}x{height}"
            )
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            return float(self.net(*(self._tensor(image) for image in images)))

    def _tensor(self, image: Image) -> Tensor:
        levels = torch.from_numpy(image.copy()).to(self.device)
        return levels.permute(2, 0, 1)[None].float() / 255


@METRICS.register("lpips")
class LPIPS(Perceptual):
    """LPIPS v0.1 by AlexNet (Zhang et al., CVPR 2018), as most papers report it.

    Args:
        backbone: File of AlexNet, by default alexnet-owt-7be5be79.pth in torch's hub folder.
        weights: File of the linear layers, by default LPIPS_v0.1_alex-df73285e.pth there.
    """

    name, title = "lpips", "LPIPS"
    network = ("lpips_arch", "LPIPS", {"net": "alex", "version": "0.1"})
    files = ("alexnet-owt-7be5be79.pth", "LPIPS_v0.1_alex-df73285e.pth")
    own = tuple(f"lin{layer}.model.1.weight" for layer in range(5))
    least = 31  # of which two poolings leave a pixel


@METRICS.register("lpips_vgg")
class LPIPSofVGG(Perceptual):
    """LPIPS v0.1 by VGG-16 (Zhang et al., CVPR 2018).

    Args:
        backbone: File of VGG-16, by default vgg16-397923af.pth in torch's hub folder.
        weights: File of the linear layers, by default LPIPS_v0.1_vgg-a78928a0.pth there.
    """

    name, title = "lpips_vgg", "LPIPS (VGG)"
    network = ("lpips_arch", "LPIPS", {"net": "vgg", "version": "0.1"})
    files = ("vgg16-397923af.pth", "LPIPS_v0.1_vgg-a78928a0.pth")
    own = LPIPS.own
    least = 16


@METRICS.register("dists")
class DISTS(Perceptual):
    """DISTS (Ding et al., TPAMI 2020; arXiv 2004.07728).

    Args:
        backbone: File of VGG-16, by default vgg16-397923af.pth in torch's hub folder.
        weights: File of the channels' weights, by default DISTS_weights-f5e65c96.pth there.
    """

    name, title = "dists", "DISTS"
    network = ("dists_arch", "DISTS", {})
    files = ("vgg16-397923af.pth", "DISTS_weights-f5e65c96.pth")
    own = ("alpha", "beta")
    least = 16


def _pyiqa(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(f"pyiqa.archs.{module}")
    except ImportError as error:
        package = (error.name or "pyiqa").partition(".")[0]
        raise UserError(
            f"metric {name} needs {package}; install it with: pip install 'srnas[pyiqa]'"
        ) from error


def _file(name: str, option: str, given: Path | None, default: Path, source: str) -> Path:
    """Return the path of a weight file; UserError if there is no such file."""
    file = given or default
    if not file.is_file():
        raise UserError(
            f"metric {name}: no file {file}; get {source}{default.name} and put it there, or name "
            f"it in options: metrics: [{{name: {name}, {option}: FILE}}]"
        )
    return file


@contextmanager
def _without_weights(arch: ModuleType) -> Iterator[None]:
    """Let a module of pyiqa build its backbones without weights, and without a download."""
    models = arch.models

    def empty(build: Any) -> Any:
        def backbone(**_: Any) -> nn.Module:
            with torch.device("meta"):
                return build(weights=None)

        return backbone

    arch.models = SimpleNamespace(  # type: ignore[attr-defined]
        alexnet=empty(models.alexnet), vgg16=empty(models.vgg16)
    )
    try:
        yield
    finally:
        arch.models = models  # type: ignore[attr-defined]


def _load(network: nn.Module, file: Path, keys: dict[str, str]) -> None:
    """Load tensors of a file into a network.

    Args:
        keys: Key in the file by key in the network.

    Raises:
        UserError: The file lacks a tensor, or one has another shape.
    """
    content = load_tensors(file)
    state, expected = {}, network.state_dict()
    for key, theirs in keys.items():
        tensor = content.get(theirs) if isinstance(content, dict) else None
        if not isinstance(tensor, Tensor) or tensor.shape != expected[key].shape:
            raise UserError(f"{file}: other weights ({theirs} is missing or has another shape)")
        state[key] = tensor.float()
    network.load_state_dict(state, strict=False, assign=True)
