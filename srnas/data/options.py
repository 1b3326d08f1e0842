"""The `data:` part of options about photographs: the images, their use and their form."""

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from srnas.components import BatchSize, OneOrEach, Side, Strict, Workers

Folders = OneOrEach[Path]
"""A folder, or several."""


class ImagesOptions(Strict):
    """The source of images: folders, or one of packaged and basicsr.

    Attributes:
        hr: Folders of HR images.
        lr: Folders of their LR images, one for each folder of `hr`; without them LR is made by
            bicubic interpolation.
        lr_only: Folders of LR images without HR images; the targets are a teacher's outputs.
        images: Range of the images of `hr`, "1-600", counted from 1: in the order of the folders,
            by name in each folder.
        packaged: A split of the photographs that come with scikit-image: "train", "alpha", "val",
            "test", or several joined by "+".
        basicsr: One of BasicSR's data sets with its own options (not for validation).
    """

    hr: Folders | None = None
    lr: Folders | None = None
    lr_only: Folders | None = None
    images: str | None = None
    packaged: str | None = None
    basicsr: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "ImagesOptions":
        for key in ("hr", "lr", "lr_only"):
            if getattr(self, key) == []:
                raise PydanticCustomError("source", "{key}: names no folder", {"key": key})
        sources = (self.hr or self.lr_only, self.packaged, self.basicsr)
        if sum(source is not None for source in sources) != 1:
            raise PydanticCustomError(
                "source", "give one of hr: FOLDER, packaged: SPLIT, basicsr: {type: ...}", {}
            )
        if self.hr is None and (self.lr or self.images):
            raise PydanticCustomError(
                "source",
                "lr: and images: belong to hr: (LR images without HR images are lr_only:)",
                {},
            )
        if self.lr and len(listed(self.lr)) != len(listed(self.hr)):
            raise PydanticCustomError("source", "lr: needs a folder for each folder of hr:", {})
        return self


def listed(folders: Folders | None) -> list[Path]:
    """Return folders as a list."""
    if folders is None:
        return []
    return [folders] if isinstance(folders, Path) else folders


class PatchOptions(Strict):
    """The sampling of patches, and the memory of decoded pixels.

    Attributes:
        batch_size: The number of patches of all processes.
        hr_patch: The side of the HR patch in pixels.
        keep: Where decoded pixels are kept: on the "device", in "memory", or mapped from the files
            of the cache ("mmap").
        cache: A folder that keeps decoded pixels between runs.
        workers: The number of processes that read BasicSR's data sets.
    """

    batch_size: BatchSize
    hr_patch: Side
    keep: Literal["device", "memory", "mmap"] = "device"
    cache: Path | None = None
    workers: Workers = 0

    @model_validator(mode="after")
    def _mapped_from_somewhere(self) -> "PatchOptions":
        if self.keep == "mmap" and self.cache is None:
            raise PydanticCustomError("source", "keep: mmap needs cache: FOLDER", {})
        return self


class SearchImages(PatchOptions):
    """Disjoint images for the weights and the alphas.

    Attributes:
        train: Images for the weights.
        alpha: Images for the alphas.
        val: Images for validations, which are for monitoring only; without them there are none.
    """

    train: ImagesOptions = ImagesOptions(packaged="train")
    alpha: ImagesOptions = ImagesOptions(packaged="alpha")
    val: ImagesOptions | None = None
    batch_size: BatchSize = 64
    hr_patch: Side = 64


class TrainImages(PatchOptions):
    """Images to train on, and a validation split that chooses the best weights.

    Attributes:
        train: Images to train on.
        val: Images for validations, which choose the best weights.
    """

    train: ImagesOptions = ImagesOptions(packaged="train+alpha")
    val: ImagesOptions = ImagesOptions(packaged="val")
    batch_size: BatchSize = 16
    hr_patch: Side = 192
