"""Data sets of image classification, by name, from local files; nothing is downloaded.

torchvision is imported where it is used: that takes seconds, which nothing else should wait for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from srnas.data.gratings import gratings
from srnas.data.imagenet16 import read_imagenet16
from srnas.data.labelled import Labelled, LabelledFiles, LabelledImages, Normalization
from srnas.errors import UserError
from srnas.registry import Registry

DATASETS = Registry("data set")
SPLITS = ("train", "test")

CIFAR10_NORMALIZATION = Normalization(  # DARTS' released code
    (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
)
CIFAR100_NORMALIZATION = Normalization(  # NAS-Bench-201's released code, here and below
    (129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)
)
IMAGENET16_NORMALIZATION = Normalization(
    (122.68 / 255, 116.66 / 255, 104.01 / 255), (63.22 / 255, 61.26 / 255, 65.09 / 255)
)
IMAGENET_NORMALIZATION = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class ClassificationData(NamedTuple):
    """The two splits, and the number of classes."""

    train: Labelled
    test: Labelled
    num_classes: int


@DATASETS.register("cifar10")
def cifar10(*, root: Path) -> ClassificationData:
    """CIFAR-10: `root` holds the official `cifar-10-batches-py`; else UserError."""
    return _cifar("CIFAR10", root, CIFAR10_NORMALIZATION)


@DATASETS.register("cifar100")
def cifar100(*, root: Path) -> ClassificationData:
    """CIFAR-100, fine labels: `root` holds the official `cifar-100-python`; else UserError."""
    return _cifar("CIFAR100", root, CIFAR100_NORMALIZATION)


@DATASETS.register("npz")
def npz(*, file: Path) -> ClassificationData:
    """A NumPy archive with x_train, y_train, x_test, y_test: (N, 3, H, W) uint8, (N,) integers.

    Classes are counted by the largest label; the normalization is that of x_train. UserError if
    the file is another.
    """
    x_train, y_train, x_test, y_test = _read_npz(file)
    num_classes = 1 + int(max(y_train.max(), y_test.max()))
    return _with_own_normalization(x_train, y_train, x_test, y_test, num_classes)


@DATASETS.register("folder")
def folder(*, root: Path, image_size: Annotated[int, Ge(1)] = 224) -> ClassificationData:
    """`root`/train/CLASS/IMAGE and `root`/val/CLASS/IMAGE, as ImageNet lies on disk.

    Classes are numbered by name order. image_size: side of the crops that a network is given.
    UserError if there are no images, or the splits' classes differ.
    """
    from torchvision.datasets import ImageFolder

    try:
        train, val = (ImageFolder(str(Path(root) / split)) for split in ("train", "val"))
    except OSError as error:
        raise UserError(f"{root}: not train/CLASS/IMAGE and val/CLASS/IMAGE ({error})") from error
    if train.classes != val.classes:
        other = sorted(set(train.classes) ^ set(val.classes))[0]
        raise UserError(f"{root}: class {other!r} is only in one of train/ and val/")
    splits = (LabelledFiles(s.samples, image_size, IMAGENET_NORMALIZATION) for s in (train, val))
    return ClassificationData(*splits, len(train.classes))


@DATASETS.register("imagenet16")
def imagenet16(
    *, root: Path, num_classes: Annotated[int, Interval(ge=1, le=1000)] = 120
) -> ClassificationData:
    """ImageNet16-120 of NAS-Bench-201: the first 120 classes of ImageNet, at 16x16 pixels.

    root: holds train_data_batch_1 to train_data_batch_10, and val_data, which is the test split.
    """
    train, test = (
        LabelledImages(*read_imagenet16(root, split, num_classes), IMAGENET16_NORMALIZATION)
        for split in SPLITS
    )
    return ClassificationData(train, test, num_classes)


@DATASETS.register("generated")
def generated(
    *,
    num_classes: Annotated[int, Ge(2)] = 10,
    train: Annotated[int, Ge(1)] = 512,
    test: Annotated[int, Ge(1)] = 128,
    side: Annotated[int, Ge(1)] = 32,
    seed: int = 0,
) -> ClassificationData:
    """Coloured gratings (`srnas.data.gratings`): so many `train` and `test` images of one side."""
    images, labels = gratings(num_classes, train + test, side, seed)
    return _with_own_normalization(
        images[:train], labels[:train], images[train:], labels[train:], num_classes
    )


def _cifar(name: str, root: Path, normalization: Normalization) -> ClassificationData:
    from torchvision import datasets

    dataset = getattr(datasets, name)
    # The files are pickles. torchvision compares each one's MD5 sum with the official one before
    # it unpickles any, so that what is unpickled is known, byte for byte.
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
    """x_train, y_train, x_test, y_test, checked."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {f"{kind}_{s}": archive[f"{kind}_{s}"] for s in SPLITS for kind in "xy"}
    except Exception as error:  # what a broken archive raises is not specified
        told = " ".join(str(error).split())
        raise UserError(
            f"{file}: not a NumPy archive of x_train, y_train, x_test, y_test ({told})"
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
