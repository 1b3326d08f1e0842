"""Options of denoising: clean photographs, and the noise that is added to them."""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from srnas.components import BatchSize, Component, ComponentOf, Side, Strict, written
from srnas.losses import LOSSES, Loss
from srnas.options import SearchOptions, TrainOptions

LossOption = Annotated[Component[Loss], ComponentOf(LOSSES, default="l1")]


class CleanImages(Strict):
    """The source of clean images; give one of the two.

    Attributes:
        folder: A folder of images.
        packaged: A split of the packaged photographs.
    """

    folder: Path | None = None
    packaged: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "CleanImages":
        if (self.folder is None) == (self.packaged is None):
            raise PydanticCustomError("source", "give one of folder: FOLDER, packaged: SPLIT", {})
        return self


class NoisyPatches(Strict):
    """Patches of clean images, with noise.

    Attributes:
        sigma: Standard deviation of the noise, in levels of 255.
        batch_size: Number of patches in a batch, over all processes.
        patch: Side of a patch in pixels.
        keep: Where decoded pixels are kept, "device" or "memory".
    """

    sigma: Annotated[float, Gt(0)] = 25.0
    batch_size: BatchSize = 16
    patch: Side = 40
    keep: Literal["device", "memory"] = "device"


class SearchData(NoisyPatches):
    """Disjoint images for the weights and the alphas.

    Attributes:
        train: Images for the weights.
        alpha: Images for the alphas.
        val: Images for validations, which are for monitoring only; without them there are none.
    """

    train: CleanImages = CleanImages(packaged="train")
    alpha: CleanImages = CleanImages(packaged="alpha")
    val: CleanImages | None = None


class TrainData(NoisyPatches):
    """Images to train on.

    Attributes:
        train: Images to train on.
        val: Images for validations, which choose the best weights; without them the last weights
            are kept.
        test: Images on which the kept weights are evaluated once, at the end.
    """

    train: CleanImages = CleanImages(packaged="train+alpha")
    val: CleanImages | None = CleanImages(packaged="val")
    test: CleanImages | None = None


class DenoisingSearchOptions(SearchOptions):
    """Options of a search for a denoising network.

    Attributes:
        data: Clean photographs, and the noise that is added to them.
        loss: Loss between the denoised and the clean image.
    """

    data: SearchData = SearchData()
    loss: LossOption = written({})


class DenoisingTrainOptions(TrainOptions):
    """Options of the training of a denoising network.

    Attributes:
        data: Clean photographs, and the noise that is added to them.
        loss: Loss between the denoised and the clean image.
    """

    data: TrainData = TrainData()
    loss: LossOption = written({})
