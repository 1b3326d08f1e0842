"""Exports of models to the formats of other runtimes, compared with PyTorch before writing."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srnas.errors import UserError, did_you_mean
from srnas.files import write_atomic
from srnas.model_file import Model
from srnas.registry import Registry
from srnas.tasks import task_of
from srnas.tasks.base import Ports

Array = NDArray[np.float32]


class ExportTarget(ABC):
    """Base class of a file format with its runtime, registered under its file suffix (".onnx").

    Attributes:
        tolerance: Maximum absolute difference from PyTorch's output.
    """

    tolerance: ClassVar[float] = 1e-4

    @abstractmethod
    def convert(self, network: nn.Module, ports: Ports) -> bytes:
        """Convert a network to the content of a file.

        Args:
            network: Network in evaluation mode with folded BatchNorm; it maps (N, 3, H, W) float32
                to a tensor.
            ports: Names of its input and output.

        Raises:
            UserError: A package that the conversion needs is not installed.
        """

    @abstractmethod
    def open(self, content: bytes, ports: Ports) -> Callable[[Array], Array]:
        """Open the content of a file in the runtime of the format.

        Args:
            content: What `convert` returned.
            ports: Names of input and output.

        Returns:
            A function that maps an input array to the output array.
        """


EXPORT_TARGETS: Registry[ExportTarget] = Registry(
    "export target",
    packages=("srnas.export",),
    base=ExportTarget,
)


def export(model: Model, path: Path, overwrite: bool = False) -> dict[str, float]:
    """Export a model to the format of the file's suffix, and check it in that format's runtime.

    Args:
        model: The model.
        path: The file.
        overwrite: Whether to replace an existing file.

    Returns:
        Maximum absolute difference from PyTorch on random images, by size ("WxH"), at three sizes.

    Raises:
        UserError: The suffix is unknown, the file exists, a package is missing, or a difference
            exceeds the tolerance of the format, in which case nothing is written.
    """
    path = Path(path)
    if path.suffix not in EXPORT_TARGETS:
        known = did_you_mean(path.suffix, EXPORT_TARGETS)
        raise UserError(f"--out {path}: no export for files {path.suffix!r}; {known}")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it")
    target, ports = EXPORT_TARGETS.build(path.suffix), task_of(model.network).ports
    content = target.convert(fold_batchnorm(model.network), ports)
    run = target.open(content, ports)
    differences = {}
    generator = np.random.default_rng(0)
    for height, width in ports.sizes:
        image = generator.random((1, 3, height, width), dtype=np.float32)
        with torch.no_grad():
            expected = model.network.eval()(torch.from_numpy(image)).numpy()
        output = run(image)
        difference = float(np.abs(output - expected).max())
        if output.shape != expected.shape or not difference <= target.tolerance:
            raise UserError(
                f"{path}: not written: at {width}x{height} its runtime differs from PyTorch by "
                f"{difference:.2e} (allowed {target.tolerance:.0e})"
            )
        differences[f"{width}x{height}"] = difference
    write_atomic(path, content)
    return differences


def fold_batchnorm(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, with BatchNorm merged into the preceding convolution."""
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        layers: dict[str, Any] = module._modules
        for before, name in pairwise(list(layers)):
            if isinstance(layers[before], nn.Conv2d) and isinstance(layers[name], nn.BatchNorm2d):
                layers[before] = fuse_conv_bn_eval(layers[before], layers[name])
                layers[name] = nn.Identity()
    return folded
