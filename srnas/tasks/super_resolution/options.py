"""Options of super-resolution: searches, trainings, and benchmarks (`srnas test`)."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from srnas.components import Component, ComponentOf, Count, Strict, written
from srnas.data.options import ImagesOptions, SearchImages, TrainImages
from srnas.errors import UserError, did_you_mean
from srnas.files import file_name
from srnas.losses import LOSSES, Loss
from srnas.metrics import METRICS, Metric
from srnas.options import RunOptions, SearchOptions, SpaceOption, TrainOptions
from srnas.tasks.super_resolution.protocols import PROTOCOLS

LossOption = Annotated[Component[Loss], ComponentOf(LOSSES, default="l1")]
Metrics = list[Component[Metric]]
DEFAULT_METRICS = ("psnr", "ssim")
SCORE = "psnr"


def _once(metrics: Metrics) -> Metrics:
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            text = "{name} is named twice; a result has each metric once"
            raise PydanticCustomError("model", text, {"name": name})
    return metrics


def _with_score(metrics: Metrics) -> Metrics:
    if SCORE not in [metric.name for metric in metrics]:
        text = "lacks {name}, by which validations are compared; add it"
        raise PydanticCustomError("model", text, {"name": SCORE})
    return metrics


MetricsOption = Annotated[
    list[Annotated[Component[Metric], ComponentOf(METRICS)]], MinLen(1), AfterValidator(_once)
]
ValMetricsOption = Annotated[MetricsOption, AfterValidator(_with_score)]


class TeacherOptions(Strict):
    """A trained network whose outputs are targets beside HR.

    The loss becomes weight * loss(SR, teacher's SR) + hr_weight * loss(SR, HR).

    Attributes:
        model: File of the teacher: a model file of srnas, published weights that srnas recognizes,
            weights of an architecture that spandrel knows (extra `spandrel`), or an ONNX file
            (extra `export`).
        weight: Weight of the loss to the teacher's outputs.
        hr_weight: Weight of the loss to HR.
        loss: Loss to the teacher's outputs, if it differs from the loss to HR.
        on: Outputs to compare with: those for whole "images", computed once, or those for the
            "patches" of each batch. They differ near the borders of a patch, and everywhere if the
            network pools over its whole input, as IMDN and RCAN do.
        cache: Folder of the outputs for whole images; by default `data.cache` or the folder
            `teacher` among the run folders.
    """

    model: Path
    weight: Annotated[float, Gt(0)] = 1.0
    hr_weight: Annotated[float, Ge(0)] = 0.2
    loss: LossOption | None = None
    on: Literal["images", "patches"] = "images"
    cache: Path | None = None


class WithTeacher(RunOptions):
    """Options of runs that may have a teacher.

    Attributes:
        teacher: A trained network whose outputs are targets beside HR.
    """

    teacher: TeacherOptions | None = None

    @model_validator(mode="after")
    def _images_have_targets(self) -> "WithTeacher":
        for split, images in self.data:
            if isinstance(images, ImagesOptions):
                self._check_targets(split, images)
        return self

    def _check_targets(self, split: str, images: ImagesOptions) -> None:
        problem = None
        if images.lr_only and split == "val":
            problem = "validation needs HR images"
        elif images.lr_only and (self.teacher is None or self.teacher.on != "images"):
            problem = "images without HR need a teacher (teacher: {model: FILE}) on images"
        elif images.basicsr and self.teacher and self.teacher.on == "images":
            problem = "BasicSR's data sets change from batch to batch; set teacher.on: patches"
        if problem:
            text = "data.{split}: {problem}"
            raise PydanticCustomError("model", text, {"split": split, "problem": problem})

    @property
    def teacher_folder(self) -> Path:
        """Folder of the teacher's outputs."""
        chosen = self.teacher.cache if self.teacher else None
        return chosen or self.data.cache or self.experiments / "teacher"


class SuperResolutionSearchOptions(SearchOptions, WithTeacher):
    """Options of a search for a super-resolution network.

    Attributes:
        data: Pairs of LR and HR images, and how patches are drawn from them.
        loss: Loss between SR and HR patches.
        metrics: Metrics of a validation, by protocol `basicsr`; "psnr" is among them.
    """

    data: SearchImages = SearchImages()
    loss: LossOption = written({})
    metrics: ValMetricsOption = written(DEFAULT_METRICS)


class SuperResolutionTrainOptions(TrainOptions, WithTeacher):
    """Options of the training of a super-resolution network.

    Attributes:
        data: Pairs of LR and HR images, and how patches are drawn from them.
        loss: Loss between SR and HR patches.
        metrics: Metrics of a validation, by protocol `basicsr`; "psnr", which selects the weights,
            is among them.
    """

    data: TrainImages = TrainImages()
    loss: LossOption = written({})
    metrics: ValMetricsOption = written(DEFAULT_METRICS)


class TestOptions(Strict):
    """Options of `srnas test`: models on benchmark sets.

    Either `model` is given, or `weights` with `space`.

    Attributes:
        model: A model file of srnas, published weights that srnas recognizes, or an exported file
            (.onnx, .xml, .param), which runs in its own runtime on the CPU.
        weights: A weight file of a network of the space, instead of `model`.
        space: Space of `weights`.
        genotype: File of the genotype of `weights`, if it is not that of the space's published
            network.
        beside: Files of other models of the same scale, measured in the same run.
        scale: Scale factor; by default that of the main model.
        tile: Side of the tiles that networks work in, in LR pixels; 0 for none. By default, images
            of more than 2 megapixels (LR) go in tiles of 512.
        data: Folder of each set by name, or "packaged" for the packaged test photographs.
        lr: Whether to use LR "files" where there are any, or LR "made" by bicubic.
        metrics: Metrics to measure.
        protocol: Main protocol, "basicsr" or another name that `explain` prints. The protocol
            defines the metrics "psnr" and "ssim".
        explain: Whether to measure under the other protocols and common mistakes as well.
        scorecard: Whether to report cost, memory and runtime as well.
        self_ensemble: Whether to average over the eight flips and transpositions of an image.
        device: Device: "cpu", "cuda", "cuda:1", ...; "auto" is CUDA if available, otherwise the
            CPU.
        save_images: Folder for the main model's SR images, in a folder for each set. The names of
            the sets must then be file names.
        crops: Folder for figures that compare a region of every image, in a folder for each set.
    """

    __test__ = False  # not a pytest class

    model: Path | None = None
    weights: Path | None = None
    space: SpaceOption | None = None
    genotype: Path | None = None
    beside: list[Path] = Field([])
    scale: Literal[2, 3, 4] | None = None
    tile: Count | None = None
    data: Annotated[dict[str, Path], MinLen(1)]
    lr: Literal["files", "made"] = "files"
    metrics: MetricsOption = written(DEFAULT_METRICS)
    protocol: str = "basicsr"
    explain: bool = False
    scorecard: bool = False
    self_ensemble: bool = False
    device: str = "auto"
    save_images: Path | None = None
    crops: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files of all models, the main one first."""
        main = self.model or self.weights
        assert main, self
        return [main, *self.beside]

    @model_validator(mode="after")
    def _one_model(self) -> "TestOptions":
        if (self.model is None) == (self.weights is None):
            raise PydanticCustomError("model", "give either model or weights", {})
        if self.weights and self.space is None:
            raise PydanticCustomError("model", "weights need a space (such as imdn)", {})
        if self.model and (self.space or self.genotype):
            raise PydanticCustomError("model", "a model file knows its space and genotype", {})
        if self.protocol not in PROTOCOLS:
            raise PydanticCustomError(
                "model",
                "no protocol is named {name}; {hint}",
                {"name": repr(self.protocol), "hint": did_you_mean(self.protocol, PROTOCOLS)},
            )
        if self.scorecard and self.self_ensemble:
            raise PydanticCustomError(
                "model", "a scorecard is of single passes; leave out self_ensemble", {}
            )
        if self.crops and self.crops == self.save_images:
            raise PydanticCustomError(
                "model", "crops and save_images would overwrite each other; give two folders", {}
            )
        return self

    @model_validator(mode="after")
    def _sets_name_folders(self) -> "TestOptions":
        try:
            for name in self.data if self.save_images or self.crops else ():
                file_name(name, "data")
        except UserError as error:
            raise PydanticCustomError("model", "{error}", {"error": str(error)}) from error
        return self
