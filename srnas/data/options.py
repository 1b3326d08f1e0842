"""The `data:` part of options about photographs: which images serve what, and in what form."""

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from srnas.parts import BatchSize, Side, Strict, Workers


class ImagesOptions(Strict):
    """Where images come from; give one of hr, packaged, basicsr.

    Attributes:
        hr: A folder of HR images.
        lr: The folder of their LR images; without it LR is made by bicubic.
        images: A range of them in name order, "1-600", counted from 1.
        packaged: A split of the photographs that come with scikit-image.
        basicsr: One of BasicSR's data sets with its own options (not for validation).
    """

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
    """How patches are drawn, and where decoded pixels live.

    Attributes:
        batch_size: The number of patches of all processes.
        hr_patch: The side of the HR patch in pixels.
        keep: "device", "memory", or "mmap" (the files of the cache).
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
    """Disjoint images for the weights and the alphas; `val` is only looked at."""

    train: ImagesOptions = ImagesOptions(packaged="train")
    alpha: ImagesOptions = ImagesOptions(packaged="alpha")
    val: ImagesOptions | None = None
    batch_size: BatchSize = 64
    hr_patch: Side = 64


class TrainImages(PatchOptions):
    """Images to train on, and a validation split that chooses the best checkpoint."""

    train: ImagesOptions = ImagesOptions(packaged="train+alpha")
    val: ImagesOptions = ImagesOptions(packaged="val")
    batch_size: BatchSize = 16
    hr_patch: Side = 192
