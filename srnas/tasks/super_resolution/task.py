"""The task of super-resolution: patches, a loss between SR and HR, PSNR and SSIM."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.cost import HD, profile
from srnas.data.images import ImagePair, benchmark_pairs, decode
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import Batch
from srnas.distributed import Process, choose_device
from srnas.errors import UserError, did_you_mean
from srnas.losses import Loss
from srnas.options import SearchOptions, TrainOptions
from srnas.parts import Strict
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks import TASKS
from srnas.tasks.base import Batches, Ports, Task
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, Upscale, bicubic, evaluate
from srnas.tasks.super_resolution.images import open_batches, open_splits
from srnas.tasks.super_resolution.options import (
    SuperResolutionSearchOptions,
    SuperResolutionTrainOptions,
    TestOptions,
)
from srnas.tasks.super_resolution.protocols import PROTOCOLS


@TASKS.register("super_resolution")
class SuperResolution(Task):
    """Enlarge images by a factor of 2, 3 or 4.

    Args:
        scale: Scale factor.
        loss: Loss function of SR and HR.
        val: Validation pairs. They are decoded here, so that a broken one is reported before the
            run starts.
        device: Device of the batches.
        precision: Precision of forward passes in training, "float32" or "bfloat16".
        rgb_range: Factor of the loss, see `SuperResolutionSpace`.
    """

    options: ClassVar[Mapping[str, type[Strict]]] = {
        "search": SuperResolutionSearchOptions,
        "train": SuperResolutionTrainOptions,
        "test": TestOptions,
    }
    score = "psnr"
    curves: ClassVar[Mapping[str, str]] = {"val_psnr": "PSNR on the validation images, dB"}
    baselines: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "val_psnr": {"val_bicubic_psnr": "bicubic"}
    }
    ports = Ports("lr", "sr", ((48, 48), (37, 51), (120, 180)))

    def __init__(
        self,
        scale: int,
        loss: Loss,
        val: Sequence[ImagePair],
        device: torch.device,
        precision: str = "float32",
        rgb_range: float = 1.0,
    ) -> None:
        self.scale, self.criterion, self.rgb_range = scale, loss, rgb_range
        self.val = decode(val, scale)
        self.device = device
        self.precision = precision
        self._bicubic_psnr: float | None = None

    @classmethod
    def open(
        cls,
        options: SearchOptions | TrainOptions,
        process: Process,
        network: Space,
        streams: Sequence[str],
        *,
        pooled: bool = False,
    ) -> tuple["SuperResolution", list[Batches]]:
        """Open the images, with the split `val` for validation; see `Task.open`."""
        scale, data = scale_of(network), options.data
        if data.hr_patch < scale * network.min_size:
            raise UserError(
                f"data.hr_patch: {data.hr_patch} is {data.hr_patch // scale} pixels of LR at "
                f"x{scale}, but this network needs {network.min_size}; give "
                f"{scale * network.min_size} or more"
            )
        sources, pairs = open_splits(data, (*streams, "val"), scale)
        if "val" in sources and sources["val"].basicsr:
            raise UserError("data.val: give hr: FOLDER; BasicSR's data sets serve training only")
        if pooled and streams[0] in pairs:
            pairs[streams[0]] = [p for split in streams if split in pairs for p in pairs[split]]
        batches = [
            open_batches(
                pairs.get(split), sources[split], data, scale, 2 * options.seed + stream, process
            )
            for stream, split in enumerate(streams)
        ]
        loss = options.loss.build()
        val = pairs.get("val", [])
        rgb_range = getattr(network, "rgb_range", 1.0)
        return cls(scale, loss, val, process.device, options.precision, rgb_range), batches

    @property
    def val_count(self) -> int:
        """Number of validation images."""
        return len(self.val)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss on a batch (LR, HR), of RGB in 0 to the network's `rgb_range`."""
        lr, hr = batch
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            sr = network(lr)
        return self.criterion(sr.float(), hr) * self.rgb_range

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return means over the validation images, protocol `basicsr`.

        Returns:
            "psnr" (dB), "ssim", and the PSNR of bicubic interpolation, "bicubic_psnr".
        """
        result = self._measure(NetworkUpscale(network, self.device))
        if self._bicubic_psnr is None:
            self._bicubic_psnr = self._measure(bicubic(self.scale))["psnr"]
        return {
            "psnr": result["psnr"],
            "ssim": result["ssim"],
            "bicubic_psnr": self._bicubic_psnr,
        }

    def _measure(self, upscale: Upscale) -> dict[str, Any]:
        return evaluate(upscale, self.val, self.scale, PROTOCOLS["basicsr"])

    def describe(self, quality: Mapping[str, float]) -> str:
        """Summarize the PSNR."""
        return f"val PSNR {quality['psnr']:.3f} dB"

    @classmethod
    def profile(cls, network: Space, size: tuple[int, int] | None) -> dict[str, Any]:
        """Count under two conventions, LR of 1280x720 and HR of 1280x720; see `Task.profile`.

        If the scale does not divide 1280x720, the LR size that belongs to this HR size is rounded
        down.
        """
        scale, (width, height) = scale_of(network), HD
        sizes = {"lr_1280x720": HD, "hr_1280x720": (width // scale, height // scale)}
        return profile(network, sizes, size)

    @classmethod
    def evaluate(  # type: ignore[override]  # a task names what it takes
        cls,
        network: Space,
        data: Mapping[str, Path | str] | Path | str,
        *,
        device: str = "auto",
        protocol: str = "basicsr",
        lr: str = "files",
        self_ensemble: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Measure PSNR and SSIM on benchmark sets.

        Args:
            network: The network.
            data: Folder of each set by name, or a single folder. A folder contains `HR/` and,
                optionally, `LR_bicubic/X2` (X3, X4), or just HR images. "packaged" stands for the
                packaged test photographs.
            device: Device, see `choose_device`.
            protocol: A name in `srnas.tasks.super_resolution.protocols`.
            lr: "files" uses LR files where there are any, "made" makes LR by bicubic.
            self_ensemble: Whether to average over the eight flips and transpositions.

        Returns:
            {"psnr", "ssim", "images": [{"name", "psnr", "ssim"}]} by set, with PSNR in dB.

        Raises:
            UserError: There is no such protocol, the network has no scale, or an image cannot be
                read or does not fit.
        """
        if protocol not in PROTOCOLS:
            raise UserError(f"protocol: {did_you_mean(protocol, PROTOCOLS)}")
        if lr not in ("files", "made"):
            raise UserError(f"lr: {lr!r}; {did_you_mean(lr, ('files', 'made'))}")
        scale = scale_of(network)
        sets = data if isinstance(data, Mapping) else {Path(data).name: data}
        upscale = NetworkUpscale(network, choose_device(device), self_ensemble)
        return {
            name: evaluate(
                upscale,
                open_benchmark(folder, scale, lr == "files"),
                scale,
                PROTOCOLS[protocol],
            )
            for name, folder in sets.items()
        }

    @classmethod
    def traits(cls, network: Space) -> str:
        """Return the scale factor as in "x2"."""
        return f"x{scale_of(network)}"


def open_benchmark(folder: Path | str, scale: int, use_lr_files: bool = True) -> list[ImagePair]:
    """Return the pairs of a benchmark set.

    Args:
        folder: Folder of the set, or "packaged" for the packaged test photographs.
        scale: Scale factor.
        use_lr_files: Whether to use LR files where there are any.
    """
    if str(folder) == "packaged":
        return packaged_pairs("test")
    return benchmark_pairs(Path(folder), scale, use_lr_files)


def scale_of(network: nn.Module) -> int:
    """Return the scale factor of a network.

    Raises:
        UserError: The network belongs to another task.
    """
    if not isinstance(network, SuperResolutionSpace):
        task = getattr(network, "task", "another task")
        raise UserError(f"a network for {task} ({type(network).__name__}) has no scale")
    return network.scale
