"""Exports of models to the formats of other runtimes, compared with PyTorch before writing."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srnas.choice import Space
from srnas.data.images import read_rgb
from srnas.data.packaged import packaged_pairs
from srnas.errors import UserError, did_you_mean
from srnas.files import write_atomic
from srnas.model_file import Model
from srnas.parts import Registry
from srnas.tasks import task_of
from srnas.tasks.base import Ports

if TYPE_CHECKING:
    from srnas.export.int8 import Budget

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
        holds_code: Whether opening a file may run code in it.
    """

    suffixes: ClassVar[tuple[str, ...]]
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
    "export target",
    packages=("srnas.export",),
    base=ExportTarget,
)


@dataclass(frozen=True)
class Agreement:
    """How the output of a runtime agrees with that of PyTorch on a photograph.

    Attributes:
        size: Size of the input, "WxH".
        largest: Largest absolute difference.
        psnr: PSNR between both in dB, for values in [0, 1]; infinite if they are equal.
    """

    size: str
    largest: float
    psnr: float


@dataclass(frozen=True)
class Export:
    """A written export.

    Attributes:
        files: The files.
        precision: Their precision.
        agreements: How it agrees with PyTorch, at three sizes.
        notes: Lines on the use of the files.
    """

    files: list[Path]
    precision: str
    agreements: list[Agreement]
    notes: list[str]


def export(
    model: Model,
    path: Path,
    target: str | None = None,
    precision: str | None = None,
    overwrite: bool = False,
    budget: "Budget | None" = None,
    size: tuple[int, int] | None = None,
) -> Export:
    """Export a model, and compare the files in their own runtime with PyTorch before keeping them.

    Args:
        model: The model.
        path: The file. With a target whose files have other suffixes, they take its name.
        target: Name of a target; by default the one that the suffix belongs to.
        precision: One of the target's precisions; by default its first.
        overwrite: Whether to replace existing files.
        budget: For "int8": what it is calibrated on and may lose; by default 0.1 dB on packaged
            photographs.
        size: The only size (width, height) of its input, which then has a batch of one; by default
            it takes any.

    Raises:
        UserError: Target or precision is unknown, a file exists, a package is missing, a
            difference exceeds the limit of the precision, or no int8 version keeps the budget. In
            these cases nothing is written.
    """
    path = Path(path)
    name = target or _target_of(path)
    if name not in EXPORT_TARGETS:
        raise UserError(f"--target {name}: {did_you_mean(name, EXPORT_TARGETS)}")
    chosen = EXPORT_TARGETS.build(name)
    precision = precision or next(iter(chosen.limits))
    if precision not in chosen.limits:
        raise UserError(f"--precision {precision}: {name} has {', '.join(chosen.limits)}")
    stem = path.with_suffix("") if path.suffix in chosen.suffixes else path
    files = {suffix: stem.with_name(stem.name + suffix) for suffix in chosen.suffixes}
    for file in files.values():
        if file.exists() and not overwrite:
            raise UserError(f"{file}: exists; give --overwrite to replace it")
    ports = task_of(model.network).ports
    content, notes = _convert(chosen, model.network, ports, precision, budget)
    sizes = ports.sizes
    if size:
        sizes = ((size[1], size[0]),)
        content = chosen.fix(content, ports, sizes[0])
    run = chosen.open(content, ports)
    agreements = [
        _compare(run, model.network, photograph(height, width)) for height, width in sizes
    ]
    worst = max(agreements, key=lambda a: math.inf if math.isnan(a.largest) else a.largest)
    if not worst.largest <= chosen.limits[precision]:
        raise UserError(
            f"{path}: not written: at {worst.size} its runtime differs from PyTorch by "
            f"{worst.largest:.2e} (allowed {chosen.limits[precision]:.0e})"
        )
    for suffix, file in files.items():
        write_atomic(file, content[suffix])
    return Export(list(files.values()), precision, agreements, [*notes, *chosen.notes(model)])


def _convert(
    target: ExportTarget, network: Space, ports: Ports, precision: str, budget: "Budget | None"
) -> tuple[Content, list[str]]:
    """Return the content of the files and lines about it."""
    folded = fold_batchnorm(network)
    if precision != "int8":
        return target.convert(folded, ports, precision), []
    from srnas.export.int8 import fit_budget, photograph_budget

    budget = budget or photograph_budget(network, None, None, 0.1)
    return fit_budget(
        target.quantized(folded, ports, budget.images),
        lambda content, threads: target.open(content, ports, threads),
        target.convert(folded, ports, "fp32"),
        budget,
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
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


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


def _target_of(path: Path) -> str:
    by_suffix = target_names()
    if path.suffix not in by_suffix:
        known = did_you_mean(path.suffix, by_suffix)
        raise UserError(f"--out {path}: no export for files {path.suffix!r}; {known}")
    return by_suffix[path.suffix]


@torch.no_grad()
def _compare(run: Run, network: Space, image: Array) -> Agreement:
    expected = network.eval()(torch.from_numpy(image)).numpy()
    output = run(image)
    height, width = image.shape[2:]
    if output.shape != expected.shape:
        return Agreement(f"{width}x{height}", math.inf, -math.inf)
    error = (output - expected).astype(np.float64)
    square = float((error**2).mean())
    psnr = math.inf if square == 0 else -10 * math.log10(square) if square > 0 else math.nan
    return Agreement(f"{width}x{height}", float(np.abs(error).max()), psnr)
