"""The contract of a format of another runtime, and what all of them need."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srnas.choice import Space
from srnas.components import Registry
from srnas.data.images import read_rgb
from srnas.data.packaged import packaged_pairs
from srnas.errors import UserError
from srnas.model_file import Model
from srnas.tasks.base import Ports

Array = NDArray[np.float32]
Content = dict[str, bytes]
"""The files of an export, by suffix."""
Run = Callable[[Array], Array]
"""Maps an input (N, 3, H, W) float32 to the output, float32."""
PHOTO = "coffee"  # a packaged photograph of 600x400


class ExportTarget(ABC):
    """Base class of a format with its runtime, registered under its name ("onnx").

    Attributes:
        suffixes: Suffixes of its files; the first one names the format in `--out FILE`.
        limits: Largest difference from PyTorch that is accepted, by precision; the first precision
            is the default.
        runtime: Name of its runtime, if it is not that of the format.
        holds_code: Whether opening a file may run code in it.
    """

    suffixes: ClassVar[tuple[str, ...]]
    runtime: ClassVar[str] = ""
    holds_code: ClassVar[bool] = False
    limits: ClassVar[Mapping[str, float]] = {"fp32": 1e-4}

    @abstractmethod
    def convert(self, network: nn.Module, ports: Ports, precision: str) -> Content:
        """Convert a network to the content of the format's files.

        Args:
            network: Network in evaluation mode with folded BatchNorm; it maps (N, 3, H, W) float32
                to a tensor.
            ports: Names of its input and output.
            precision: A key of `limits`.

        Raises:
            UserError: A package that the conversion needs is not installed, or the format cannot
                express the network.
        """

    @abstractmethod
    def open(self, content: Content, ports: Ports, threads: int | None = None) -> Run:
        """Open the content of the files in the runtime of the format.

        Args:
            content: What `convert` returned.
            ports: Names of input and output.
            threads: Number of threads; by default the runtime's own choice.
        """

    def quantized(
        self, network: nn.Module, ports: Ports, images: Sequence[Array]
    ) -> Iterator[tuple[str, Content]]:
        """Yield int8 versions of a network with their names, from fast to careful.

        Args:
            network: As in `convert`.
            ports: Names of input and output.
            images: Calibration images, (1, 3, H, W) float32 in [0, 1].

        Raises:
            UserError: The format has none.
        """
        raise UserError("this target has no int8; onnx and openvino have")

    def fix(self, content: Content, ports: Ports, size: tuple[int, int]) -> Content:
        """Return the content for batches of one and a single size (height, width).

        Raises:
            UserError: The format has no such variant.
        """
        raise UserError("this target takes any size only; onnx and openvino can fix it")

    def notes(self, model: Model) -> list[str]:
        """Return lines on what the use of the files in the format's programs entails."""
        return []


EXPORT_TARGETS: Registry[ExportTarget] = Registry(
    "export target", packages=("srnas.export",), base=ExportTarget
)


def photograph(height: int, width: int) -> Array:
    """Return a crop of a packaged photograph, (1, 3, height, width) RGB in [0, 1].

    It is repeated by reflection if it is smaller.
    """
    (pair,) = (pair for pair in packaged_pairs("test") if pair.name == PHOTO)
    image = read_rgb(pair.hr)
    room = [max(0, side - have) for side, have in zip((height, width), image.shape, strict=False)]
    image = np.pad(image, ((0, room[0]), (0, room[1]), (0, 0)), mode="reflect")
    top, left = (
        (have - side) // 2 for side, have in zip((height, width), image.shape, strict=False)
    )
    crop = image[top : top + height, left : left + width]
    return to_input(crop)


def to_input(image: NDArray[np.uint8]) -> Array:
    """Return an image, (H, W, 3), as (1, 3, H, W) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def fold_batchnorm(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, with BatchNorm merged into the preceding convolution.

    What only training needs is merged as well, see `Space.merge`.
    """
    folded = copy.deepcopy(network).eval()
    if isinstance(folded, Space):
        folded.merge()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        layers: dict[str, Any] = module._modules
        for before, name in pairwise(list(layers)):
            if isinstance(layers[before], nn.Conv2d) and isinstance(layers[name], nn.BatchNorm2d):
                layers[before] = fuse_conv_bn_eval(layers[before], layers[name])
                layers[name] = nn.Identity()
    return folded


def target_names() -> dict[str, str]:
    """Return the names of the targets by the first suffix of their files."""
    return {EXPORT_TARGETS[name].suffixes[0]: name for name in EXPORT_TARGETS}  # type: ignore[attr-defined]
