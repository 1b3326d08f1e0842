"""Options of classification: labelled images, and what only its searches and trainings have."""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval

from srnas.options import Count, PositiveInt, SearchOptions, TrainOptions
from srnas.parts import Part, PartOf, ScheduleOption, Strict, written
from srnas.tasks.classification.datasets import DATASETS, ClassificationData
from srnas.tasks.classification.losses import CLASS_LOSSES, ClassLoss

Share = Annotated[float, Interval(ge=0, le=1)]
LossOption = Annotated[Part[ClassLoss], PartOf(CLASS_LOSSES, default="cross_entropy")]


class ClassOptions(Strict):
    """Labelled images; `train`, `alpha`, `val` are shares of the training images, in file order.

    Attributes:
        batch_size: The number of images of all processes.
        cutout: The side of the square that is cut out in pixels, 0 for none.
        workers: The number of processes that read image folders.
    """

    dataset: Annotated[Part[ClassificationData], PartOf(DATASETS)]
    batch_size: PositiveInt
    cutout: Count = 0
    workers: Count = 0


class ClassSearchData(ClassOptions):
    """Disjoint images for the weights and the alphas.

    `val` is only looked at. The test images are not.
    """

    train: tuple[Share, Share] = (0.0, 0.5)
    alpha: tuple[Share, Share] = (0.5, 1.0)
    val: tuple[Share, Share] | None = (0.5, 1.0)
    batch_size: PositiveInt = 64


class ClassTrainData(ClassOptions):
    """Images to train on.

    With `val`, its best accuracy chooses the weights; without, they are the last ones. The test
    images are looked at once, at the end.
    """

    train: tuple[Share, Share] = (0.0, 1.0)
    val: tuple[Share, Share] | None = None
    batch_size: PositiveInt = 96


class ClassSearchOptions(SearchOptions):
    """Options of a search for a classifier.

    Attributes:
        nb201_table: The table in which each epoch's cell of the space nasbench201 is looked up.
    """

    data: ClassSearchData
    loss: LossOption = written({})
    nb201_table: Path | None = None


class ClassTrainOptions(TrainOptions):
    """Options of the training of a classifier.

    Attributes:
        drop_path: The probability that an edge of a cell is left out.
        auxiliary_weight: The weight of the auxiliary head's loss (space darts).
    """

    data: ClassTrainData
    loss: LossOption = written({})
    drop_path: ScheduleOption | None = None
    auxiliary_weight: Annotated[float, Ge(0)] = 0.4
