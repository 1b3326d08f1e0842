"""The `data:` part of the options: which images serve what, and in what form."""

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from srnas.data.classification import DATASETS
from srnas.parts import Part, Strict

PositiveInt = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]


class ImagesOptions(Strict):
    """Where images come from: a folder of HR (and LR) images, packaged photographs, or one of
    BasicSR's data sets with its own options (not for validation)."""

    hr: Path | None = None
    lr: Path | None = None
    images: str | None = None
    packaged: str | None = None
    basicsr: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "ImagesOptions":
        if sum(source is not None for source in (self.hr, self.packaged, self.basicsr)) != 1:
            raise PydanticCustomError(
                "source", "give one of hr: FOLDER, packaged: SPLIT, basicsr: {type: ...}", {}
            )
        if self.hr is None and (self.lr or self.images):
            raise PydanticCustomError("source", "lr: and images: belong to hr:", {})
        return self


class PatchOptions(Strict):
    """Patches of a batch, where decoded pixels live, and who reads BasicSR's data sets.

    keep: "device", "memory", or "mmap" (the cache's files). cache: folder that keeps decoded
    pixels between runs. workers: processes for BasicSR's data sets.
    """

    batch_size: PositiveInt
    hr_patch: PositiveInt
    keep: Literal["device", "memory", "mmap"] = "device"
    cache: Path | None = None
    workers: Count = 0

    @model_validator(mode="after")
    def _mapped_from_somewhere(self) -> "PatchOptions":
        if self.keep == "mmap" and self.cache is None:
            raise PydanticCustomError("source", "keep: mmap needs cache: FOLDER", {})
        return self


class SearchData(PatchOptions):
    """Disjoint images for the weights and the alphas; `val` is only looked at."""

    train: ImagesOptions = ImagesOptions(packaged="train")
    alpha: ImagesOptions = ImagesOptions(packaged="alpha")
    val: ImagesOptions | None = None
    batch_size: PositiveInt = 64
    hr_patch: PositiveInt = 64


Share = Annotated[float, Interval(ge=0, le=1)]


class ClassOptions(Strict):
    """Labelled images; `train`, `alpha`, `val` are shares of the training images, in file order.

    cutout: side of the square that is cut out, 0 for none. workers: processes for folders.
    """

    dataset: Annotated[dict[str, Any], Part(DATASETS)]
    batch_size: PositiveInt
    cutout: Count = 0
    workers: Count = 0


class ClassSearchData(ClassOptions):
    """Disjoint images for the weights and the alphas; `val` is only looked at, never the test
    images."""

    train: tuple[Share, Share] = (0.0, 0.5)
    alpha: tuple[Share, Share] = (0.5, 1.0)
    val: tuple[Share, Share] | None = (0.5, 1.0)
    batch_size: PositiveInt = 64


class ClassTrainData(ClassOptions):
    """Images to train on; with `val` its best accuracy chooses the weights, without it they are
    the last ones. The test images are looked at once, at the end."""

    train: tuple[Share, Share] = (0.0, 1.0)
    val: tuple[Share, Share] | None = None
    batch_size: PositiveInt = 96


class TrainData(PatchOptions):
    """Images to train on, and a validation split that chooses the best checkpoint."""

    train: ImagesOptions = ImagesOptions(packaged="train+alpha")
    val: ImagesOptions = ImagesOptions(packaged="val")
    batch_size: PositiveInt = 16
    hr_patch: PositiveInt = 192
