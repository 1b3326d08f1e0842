"""Exports: a model in the format of another runtime, compared with PyTorch before it is written."""

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
    """A file format and its runtime; it registers under the suffix of its files (".onnx").

    Attributes:
        tolerance: The largest absolute difference to PyTorch's output that is allowed.
    """

    tolerance: ClassVar[float] = 1e-4

    @abstractmethod
    def convert(self, network: nn.Module, ports: Ports) -> bytes:
        """Return the content of the file.

        Args:
            network: In evaluation mode, its BatchNorm folded; (N, 3, H, W) float32 -> Tensor.
            ports: The names of its input and output.

        Raises:
            UserError: A package that the conversion needs is not installed.
        """

    @abstractmethod
    def open(self, content: bytes, ports: Ports) -> Callable[[Array], Array]:
        """Return a function that runs the content in the target's own runtime."""


EXPORT_TARGETS: Registry[ExportTarget] = Registry(
    "export target",
    packages=("srnas.export",),
    base=ExportTarget,
)


def export(model: Model, path: Path, overwrite: bool = False) -> dict[str, float]:
    """Write a model in the format of the path's suffix, checked in that format's runtime.

    Args:
        overwrite: Replace a file that exists.

    Returns:
        "WxH" -> the largest absolute difference to PyTorch, on random images of three sizes.

    Raises:
        UserError: The suffix is not known, the file exists, a package is missing, or (nothing is
            written) a difference exceeds the target's tolerance.
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
    """Return a copy in evaluation mode, each BatchNorm merged into the convolution before it."""
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
