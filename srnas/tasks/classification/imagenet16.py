"""Reader for ImageNet downsampled to 16x16 pixels, in its published format.

The data set is described by Chrabaszcz, Loshchilov and Hutter (arXiv:1707.08819). Its files are
pickles. They are read without executing code: the only names that a file may refer to are those
of pickled NumPy arrays, which are replaced by stand-ins.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnas.errors import UserError

SIDE = 16
FILES = {"train": [f"train_data_batch_{i}" for i in range(1, 11)], "test": ["val_data"]}


def read_imagenet16(root: Path, split: str, num_classes: int) -> tuple[Tensor, Tensor]:
    """Read the images and labels of the first `num_classes` classes.

    Args:
        root: Folder that contains the published files.
        split: "train" or "test".
        num_classes: Number of classes to keep.

    Returns:
        RGB images of shape (N, 3, 16, 16), uint8, and labels of shape (N,), int64, starting at 0.

    Raises:
        UserError: A file is missing, has another layout, or contains anything other than arrays
            and plain values.
    """
    images, labels = [], []
    for name in FILES[split]:
        data, numbers = _read_batch(Path(root) / name)
        kept = (numbers >= 1) & (numbers <= num_classes)
        images.append(data[kept])
        labels.append(numbers[kept] - 1)
    pixels = np.concatenate(images).reshape(-1, 3, SIDE, SIDE)
    return torch.from_numpy(pixels), torch.from_numpy(np.concatenate(labels))


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file: pixels (N, 768) as red, green and blue planes, and labels (N,) from 1."""
    content = load_arrays(path)
    content = content if isinstance(content, dict) else {}
    data, labels = content.get("data"), content.get("labels")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.shape[1:] != (3 * SIDE * SIDE,)
        or not isinstance(labels, list)
        or not all(type(label) is int for label in labels)
        or len(labels) != len(data)
    ):
        raise UserError(
            f"{path}: not a batch of ImageNet16: needs data, uint8 of (N, {3 * SIDE * SIDE}), and "
            "labels, N integers; fetch the file again"
        )
    return data, np.array(labels, dtype=np.int64)


def load_arrays(path: Path) -> Any:
    """Load a pickle of plain values, or of a dict of them and arrays, without executing code.

    No object of NumPy is made before its parts are checked: `numpy.ndarray` and the state of a
    `numpy.dtype` take addresses from any caller.

    Raises:
        UserError: The file is missing or broken, or it refers to anything else.
        OSError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            return content
        return {key: v.array if isinstance(v, _Array) else v for key, v in content.items()}
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); put the published file there"
        ) from error
    except OSError:
        raise
    except UserError as error:
        raise UserError(f"{path}: not loaded, {error}") from error
    except Exception as error:  # the errors of broken pickles are not specified
        raise UserError(
            f"{path}: broken or truncated ({type(error).__name__}); fetch the file again"
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Resolve the names that pickled arrays need from a fixed table, and refuse all others."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the object for a name.

        Raises:
            UserError: The name is not one of those that pickled arrays need.
        """
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"it asks for {module}.{name}, which could execute code; fetch the published file"
            )
        return _ALLOWED[module, name]


class _DType:
    """Stand-in for a pickled dtype; only plain numbers pass."""

    def __init__(self, name: object, *_: object) -> None:
        if not (isinstance(name, str) and re.fullmatch("[biuf][1248]", name)):
            raise pickle.UnpicklingError(f"dtype {name!r:.40}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stand-in for a pickled array until all of its parts are checked."""

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("state of an array")
        _, shape, dtype, columns_first, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # written by Python 2
        sizes = shape if isinstance(shape, tuple) else (-1,)
        if not (
            isinstance(dtype, _DType)
            and isinstance(data, bytes)
            and all(type(size) is int and size >= 0 for size in sizes)
            and math.prod(sizes) * dtype.dtype.itemsize == len(data)
        ):
            raise pickle.UnpicklingError("state of an array")
        order: Literal["F", "C"] = "F" if columns_first else "C"
        self.array = np.frombuffer(data, dtype.dtype).reshape(sizes, order=order)


def _new_array(*_: object) -> _Array:
    """Replace NumPy's `_reconstruct`, whose arguments the state repeats."""
    return _Array()


def _latin1(text: str, encoding: str) -> bytes:
    """Replace `_codecs.encode`, by which pickles below protocol 3 store bytes as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(encoding)
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,  # written by NumPy 2
    ("numpy", "ndarray"): "ndarray",  # an argument of _reconstruct, which nothing can call
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
}
