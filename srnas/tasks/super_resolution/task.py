"""The task of super-resolution: patches, a loss between SR and HR, metrics by name."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.components import Component, Strict
from srnas.cost import HD, profile
from srnas.data.images import ImagePair, benchmark_pairs, decode
from srnas.data.options import listed
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import Batch
from srnas.distributed import Process, choose_device
from srnas.errors import UserError, did_you_mean
from srnas.files import names_and_sizes
from srnas.losses import Loss
from srnas.metrics import Metric, in_words
from srnas.options import SearchOptions, TrainOptions
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks import TASKS
from srnas.tasks.base import Batches, Opened, Ports, Task
from srnas.tasks.super_resolution.evaluate import (
    NetworkUpscale,
    bicubic,
    evaluate,
    mean_psnr,
    open_metrics,
)
from srnas.tasks.super_resolution.images import Split, open_batches, open_splits, pooled
from srnas.tasks.super_resolution.options import (
    DEFAULT_METRICS,
    SCORE,
    SuperResolutionSearchOptions,
    SuperResolutionTrainOptions,
    TestOptions,
)
from srnas.tasks.super_resolution.protocols import PROTOCOLS
from srnas.tasks.super_resolution.teacher import Teacher


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
        teacher: Teacher, if there is one.
        metrics: Metrics of validations, "psnr" among them.
    """

    options: ClassVar[Mapping[str, type[Strict]]] = {
        "search": SuperResolutionSearchOptions,
        "train": SuperResolutionTrainOptions,
        "test": TestOptions,
    }
    score = SCORE
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
        teacher: Teacher | None = None,
        metrics: Sequence[Component[Metric] | str] = DEFAULT_METRICS,
    ) -> None:
        self.scale, self.image_loss, self.rgb_range = scale, loss, rgb_range
        self.teacher = teacher
        self.notes = teacher.notes if teacher else ()
        self.val = decode(val, scale)
        self.device = device
        self.precision = precision
        self.metrics = open_metrics(metrics, PROTOCOLS["basicsr"], device)
        self._bicubic_psnr: float | None = None

    @classmethod
    def read(
        cls,
        options: SearchOptions | TrainOptions,
        process: Process,
        network: Space,
        streams: Sequence[str],
        *,
        rehearsal: bool,
    ) -> Opened:
        """Read the images, with the split `val` for validation, and the teacher's outputs."""
        assert isinstance(options, SuperResolutionSearchOptions | SuperResolutionTrainOptions)
        scale, data = scale_of(network), options.data
        if data.hr_patch < scale * network.min_size:
            raise UserError(
                f"data.hr_patch: {data.hr_patch} is {data.hr_patch // scale} pixels of LR at "
                f"x{scale}, but this network needs {network.min_size}; give "
                f"{scale * network.min_size} or more"
            )
        splits = open_splits(data, (*streams, "val"), scale)
        if "val" in splits and splits["val"].options.basicsr:
            raise UserError("data.val: give hr: FOLDER; BasicSR's data sets serve training only")
        teacher = None
        if options.teacher:
            folder = options.teacher_folder
            teacher = Teacher(options.teacher, scale, process, folder, rehearsal=rehearsal)
        task = cls(
            scale,
            options.loss.build(),
            splits["val"].pairs if "val" in splits else [],
            process.device,
            options.precision,
            getattr(network, "rgb_range", 1.0),
            teacher,
            options.metrics,
        )
        task.sources = splits[streams[0]].sources
        teach = teacher.teach if teacher and teacher.on_images else None

        def batches(split: Split, seed: int) -> Batches:
            return open_batches(split, data, scale, seed, process, teach)

        return Opened(task, splits, batches, pooled)

    @classmethod
    def identify_data(cls, options: SuperResolutionTrainOptions) -> str:
        """Return names and sizes of the images and the teacher, and the range of the images."""
        images, teacher = options.data.train, options.teacher
        folders = [*listed(images.hr), *listed(images.lr_only)]
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        files += [teacher.model] if teacher and teacher.model.exists() else []
        return names_and_sizes(files) + str(images.images)

    @property
    def val_count(self) -> int:
        """Number of validation images."""
        return len(self.val)

    def with_few(self, most: int) -> Task:
        """Return a task with every n-th validation image; see `Task.with_few`."""
        few = copy.copy(self)
        few.val = self.val[:: -(-len(self.val) // most) or 1]
        return few

    def criterion(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss of SR on a batch, of RGB in 0 to the network's `rgb_range`."""
        if self.teacher:
            loss = self.teacher.criterion(self.image_loss, prediction, batch)
        else:
            loss = self.image_loss(prediction, batch[1])
        return loss * self.rgb_range

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return means over the validation images, protocol `basicsr`.

        Returns:
            The metrics by name, and the PSNR of bicubic interpolation in dB, "bicubic_psnr".
        """
        upscale, protocol = NetworkUpscale(network, self.device), PROTOCOLS["basicsr"]
        result = evaluate(upscale, self.val, self.scale, protocol, metrics=self.metrics)
        if self._bicubic_psnr is None:
            self._bicubic_psnr = mean_psnr(bicubic(self.scale), self.val, self.scale)
        values = {name: result[name] for name in self.metrics}
        return {**values, "bicubic_psnr": self._bicubic_psnr}

    def describe(self, quality: Mapping[str, float]) -> str:
        """Summarize the PSNR, and the metrics that are not measured by default."""
        names = [SCORE, *(name for name in self.metrics if name not in DEFAULT_METRICS)]
        return "val " + ", ".join(in_words(name, quality[name]) for name in names)

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
    def evaluate(  # type: ignore[override]  # each task has its own arguments
        cls,
        network: Space,
        data: Mapping[str, Path | str] | Path | str,
        *,
        device: str = "auto",
        protocol: str = "basicsr",
        lr: str = "files",
        self_ensemble: bool = False,
        metrics: Sequence[Component[Metric] | Mapping[str, Any] | str] = DEFAULT_METRICS,
    ) -> dict[str, dict[str, Any]]:
        """Measure metrics on benchmark sets.

        Args:
            data: Folder of each set by name, or a single folder. A folder contains `HR/` and,
                optionally, `LR_bicubic/X2` (X3, X4), or just HR images. "packaged" names the
                packaged test photographs.
            protocol: A name in `srnas.tasks.super_resolution.protocols`.
            lr: "files" uses LR files where there are any, "made" makes LR by bicubic.
            self_ensemble: Whether to average over the eight flips and transpositions.
            metrics: Names of metrics, or mappings of a name and options.

        Returns:
            {"psnr", "ssim", "metrics": ["psnr", "ssim"], "images": [{"name", "psnr", "ssim"}]} by
            set, with PSNR in dB; with `metrics` those instead of "psnr" and "ssim".

        Raises:
            UserError: There is no such protocol or metric, the network has no scale, or an image
                cannot be read or does not fit.
        """
        if protocol not in PROTOCOLS:
            raise UserError(f"protocol: {did_you_mean(protocol, PROTOCOLS)}")
        if lr not in ("files", "made"):
            raise UserError(f"lr: {lr!r}; {did_you_mean(lr, ('files', 'made'))}")
        scale, where = scale_of(network), choose_device(device)
        opened = open_metrics(metrics, PROTOCOLS[protocol], where)
        sets = data if isinstance(data, Mapping) else {Path(data).name: data}
        upscale = NetworkUpscale(network, where, self_ensemble)
        return {
            name: evaluate(
                upscale,
                open_benchmark(folder, scale, lr == "files"),
                scale,
                PROTOCOLS[protocol],
                metrics=opened,
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
        use_lr_files: Whether to use LR files where there are any.
    """
    if str(folder) == "packaged":
        return packaged_pairs("test")
    return benchmark_pairs(Path(folder), scale, use_lr_files)


def scale_of(network: nn.Module) -> int:
    """Return the scale factor of a network; UserError if the network belongs to another task."""
    if not isinstance(network, SuperResolutionSpace):
        task = getattr(network, "task", "another task")
        raise UserError(f"a network for {task} ({type(network).__name__}) has no scale")
    return network.scale
