"""Options of classification: labelled images, and options of its searches and trainings."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval
from pydantic import model_validator

from srnas.components import BatchSize, Component, ComponentOf, Count, Strict, Workers, written
from srnas.options import SearchOptions, TrainOptions
from srnas.schedules import ScheduleOption, Update
from srnas.tasks.classification.datasets import DATASETS, ClassificationData
from srnas.tasks.classification.losses import CLASS_LOSSES, ClassLoss

Share = Annotated[float, Interval(ge=0, le=1)]
LossOption = Annotated[Component[ClassLoss], ComponentOf(CLASS_LOSSES, default="cross_entropy")]


class ClassOptions(Strict):
    """Labelled images.

    The splits `train`, `alpha` and `val` are ranges of the training images in file order, as
    fractions from 0 to 1; for image folders they apply to each class.

    Attributes:
        dataset: The data set.
        batch_size: Number of images in a batch, over all processes.
        cutout: Side of the cutout square in pixels, for images in memory only; 0 for none.
        workers: Number of worker processes that read image folders.
    """

    dataset: Annotated[Component[ClassificationData], ComponentOf(DATASETS)]
    batch_size: BatchSize
    cutout: Count = 0
    workers: Workers = 0


class ClassSearchData(ClassOptions):
    """Disjoint images for the weights and the alphas.

    The test images are not used.

    Attributes:
        train: Range of the images for the weights.
        alpha: Range of the images for the alphas.
        val: Range of the images for validations, which are for monitoring only.
    """

    train: tuple[Share, Share] = (0.0, 0.5)
    alpha: tuple[Share, Share] = (0.5, 1.0)
    val: tuple[Share, Share] | None = (0.5, 1.0)
    batch_size: BatchSize = 64


class ClassTrainData(ClassOptions):
    """Images to train on.

    The test images are used once, at the end.

    Attributes:
        train: Range of the images to train on.
        val: Range of the images for validations; the weights with the best accuracy on them are
            kept, and the last weights without them.
    """

    train: tuple[Share, Share] = (0.0, 1.0)
    val: tuple[Share, Share] | None = None
    batch_size: BatchSize = 96


class ClassSearchOptions(SearchOptions):
    """Options of a search for a classifier.

    Attributes:
        data: Labelled images.
        loss: Loss of the predicted classes.
        nb201_table: Older name of `table`.
    """

    data: ClassSearchData
    loss: LossOption = written({})
    nb201_table: Path | None = None

    @property
    def table_file(self) -> Path | None:
        """The table, if there is one."""
        return self.table or self.nb201_table


class ClassTrainOptions(TrainOptions):
    """Options of the training of a classifier.

    Attributes:
        data: Labelled images.
        loss: Loss of the predicted classes.
        drop_path: Probability of dropping an edge of a cell, over the progress of the training.
        drop_path_update: Whether `drop_path` changes every "epoch" (of `steps_per_epoch`) or every
            "step".
        auxiliary_weight: Weight of the auxiliary head's loss (space darts).
    """

    data: ClassTrainData
    loss: LossOption = written({})
    drop_path: ScheduleOption | None = None
    drop_path_update: Update = "step"
    auxiliary_weight: Annotated[float, Ge(0)] = 0.4

    @model_validator(mode="after")
    def _has_epochs_to_drop_by(self) -> "ClassTrainOptions":
        return self.needs_epochs("drop_path_update", self.drop_path_update)
