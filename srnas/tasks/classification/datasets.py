"""Registered data sets for image classification, read from local files; nothing is downloaded.

torchvision is imported only where it is used, because the import takes seconds.
"""

from collections.abc import Iterator
from errno import ENOENT, ENOTDIR
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from srnas.components import Classes, PositiveInt, Registry, Seed, Side
from srnas.errors import UserError
from srnas.files import check_file
from srnas.tasks.classification.gratings import gratings
from srnas.tasks.classification.imagenet16 import read_imagenet16
from srnas.tasks.classification.labelled import (
    Labelled,
    LabelledFiles,
    LabelledImages,
    Normalization,
)

SPLITS = ("train", "test")

CIFAR10_NORMALIZATION = Normalization(  # as in DARTS' released code
    (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
)
CIFAR100_NORMALIZATION = Normalization(  # as in NAS-Bench-201's released code, like the next
    (129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)
)
IMAGENET16_NORMALIZATION = Normalization(
    (122.68 / 255, 116.66 / 255, 104.01 / 255), (63.22 / 255, 61.26 / 255, 65.09 / 255)
)
IMAGENET_NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ClassificationData(NamedTuple):
    """A classification data set.

    Attributes:
        train: Training split.
        test: Test split.
        num_classes: Number of classes.
    """

    train: Labelled
    test: Labelled
    num_classes: int


DATASETS: Registry[ClassificationData] = Registry("data set")


@DATASETS.register("cifar10")
def cifar10(*, root: Path) -> ClassificationData:
    """Open CIFAR-10.

    Args:
        root: Folder that contains the official `cifar-10-batches-py`.

    Raises:
        UserError: The files are missing or are not the official ones.
    """
    return _cifar("CIFAR10", root, CIFAR10_NORMALIZATION)


@DATASETS.register("cifar100")
def cifar100(*, root: Path) -> ClassificationData:
    """Open CIFAR-100 with its fine labels.

    Args:
        root: Folder that contains the official `cifar-100-python`.

    Raises:
        UserError: The files are missing or are not the official ones.
    """
    return _cifar("CIFAR100", root, CIFAR100_NORMALIZATION)


@DATASETS.register("npz")
def npz(*, file: Path) -> ClassificationData:
    """Open a NumPy archive with the arrays x_train, y_train, x_test and y_test.

    The number of classes is the largest label plus 1. The normalization is computed from x_train.

    Args:
        file: The archive. Images have shape (N, 3, H, W), uint8; labels are integers of shape (N,),
            starting at 0.

    Raises:
        UserError: The file cannot be read, or its arrays differ from this description.
    """
    x_train, y_train, x_test, y_test = _read_npz(file)
    num_classes = 1 + int(max(y_train.max(), y_test.max()))
    return _with_own_normalization(x_train, y_train, x_test, y_test, num_classes)


@DATASETS.register("folder")
def folder(*, root: Path, image_size: Side = 224, color_jitter: bool = True) -> ClassificationData:
    """Open a folder with the layout of ImageNet: train/CLASS/IMAGE and val/CLASS/IMAGE.

    Classes are numbered in the order of their names. The test split is val/. Images are normalized
    with ImageNet's mean and standard deviation.

    Args:
        root: Folder that contains train/ and val/.
        image_size: Side of the square crops that a network receives, in pixels.
        color_jitter: Whether the augmentation changes the colours, besides cropping and flipping.
            DARTS' training on ImageNet does, PC-DARTS' search does not.

    Raises:
        UserError: A split has no images, or the classes of the two splits differ.
    """
    from torchvision.datasets import ImageFolder

    try:
        folders = [ImageFolder(str(Path(root) / split)) for split in ("train", "val")]
    except OSError as error:
        if error.errno not in (None, ENOENT, ENOTDIR):
            raise
        raise UserError(f"{root}: not train/CLASS/IMAGE and val/CLASS/IMAGE ({error})") from error
    classes = [folder.classes for folder in folders]
    if classes[0] != classes[1]:
        other = sorted(set(classes[0]) ^ set(classes[1]))[0]
        raise UserError(f"{root}: class {other!r} is only in one of train/ and val/")
    train, val = (
        LabelledFiles(f.samples, image_size, IMAGENET_NORMALIZATION, color_jitter) for f in folders
    )
    return ClassificationData(train, val, len(classes[0]))


@DATASETS.register("imagenet16")
def imagenet16(
    *, root: Path, num_classes: Annotated[int, Interval(ge=1, le=1000)] = 120
) -> ClassificationData:
    """Open ImageNet16-120 of NAS-Bench-201: the first 120 classes of ImageNet at 16x16 pixels.

    Args:
        root: Folder that contains the published files train_data_batch_1 to train_data_batch_10,
            and val_data, which is the test split.
        num_classes: Number of classes to keep; the first ones are kept.

    Raises:
        UserError: A file is missing or has another layout.
    """
    train, test = (
        LabelledImages(*read_imagenet16(root, split, num_classes), IMAGENET16_NORMALIZATION)
        for split in SPLITS
    )
    return ClassificationData(train, test, num_classes)


@DATASETS.register("generated")
def generated(
    *,
    num_classes: Classes = 10,
    train: PositiveInt = 512,
    test: PositiveInt = 128,
    side: Side = 32,
    seed: Seed = 0,
) -> ClassificationData:
    """Generate images of coloured gratings, for tests and demonstrations.

    The normalization is computed from the training images.

    Args:
        num_classes: Number of classes.
        train: Number of training images.
        test: Number of test images.
        side: Height and width of the images, in pixels.
        seed: Seed of the random numbers that make the images.
    """
    images, labels = gratings(num_classes, train + test, side, seed)
    return _with_own_normalization(
        images[:train], labels[:train], images[train:], labels[train:], num_classes
    )


def _cifar(name: str, root: Path, normalization: Normalization) -> ClassificationData:
    from torchvision import datasets

    dataset = getattr(datasets, name)
    # The files are pickles, which could execute code. torchvision compares the MD5 sum of every
    # file with the official one before it unpickles any of them.
    try:
        splits = [dataset(str(root), train=train) for train in (True, False)]
    except RuntimeError as error:
        raise UserError(
            f"{Path(root) / dataset.base_folder}: missing, or not the official files (their MD5 "
            f"sums differ); unpack {dataset.url} in {root}"
        ) from error
    train, test = (
        LabelledImages(
            torch.from_numpy(split.data).permute(0, 3, 1, 2),
            torch.tensor(split.targets),
            normalization,
        )
        for split in splits
    )
    return ClassificationData(train, test, len(splits[0].classes))


def _read_npz(file: Path) -> Iterator[Tensor]:
    """Yield x_train, y_train, x_test and y_test, checked."""
    check_file(file)
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {f"{kind}_{s}": archive[f"{kind}_{s}"] for s in SPLITS for kind in "xy"}
    except Exception as error:  # the errors of broken archives are not specified
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file}: not a NumPy archive of x_train, y_train, x_test, y_test ({reason})"
        ) from error
    for split in SPLITS:
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1] != 3:
            raise UserError(f"{file}: x_{split} is {x.shape} {x.dtype}, not (N, 3, H, W) uint8")
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or not len(y) or y.min() < 0:
            raise UserError(
                f"{file}: y_{split} is {y.shape} {y.dtype}, not {len(x)} integers from 0, one an "
                "image"
            )
        yield torch.from_numpy(x)
        yield torch.from_numpy(y.astype(np.int64))


def _with_own_normalization(
    x_train: Tensor, y_train: Tensor, x_test: Tensor, y_test: Tensor, num_classes: int
) -> ClassificationData:
    normalization = Normalization.of(x_train)
    return ClassificationData(
        LabelledImages(x_train, y_train, normalization),
        LabelledImages(x_test, y_test, normalization),
        num_classes,
    )
