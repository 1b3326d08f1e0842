"""ImageNet downsampled to 16x16 (Chrabaszcz, Loshchilov, Hutter, arXiv:1707.08819), as published.

Its files are pickles. Nothing in them is executed: all that they may ask for is what rebuilds a
NumPy array.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srnas.errors import UserError

SIDE = 16
FILES = {"train": [f"train_data_batch_{i}" for i in range(1, 11)], "test": ["val_data"]}


def read_imagenet16(root: Path, split: str, num_classes: int) -> tuple[Tensor, Tensor]:
    """(N, 3, 16, 16) uint8 and (N,) int64 labels from 0, of the first `num_classes` classes.

    split: "train" or "test". UserError for a file that is missing, of another layout, or that
    holds more than arrays and plain values.
    """
    images, labels = [], []
    for name in FILES[split]:
        data, numbers = _read_batch(Path(root) / name)
        kept = (numbers >= 1) & (numbers <= num_classes)
        images.append(data[kept])
        labels.append(numbers[kept] - 1)
    pixels = np.concatenate(images).reshape(-1, 3, SIDE, SIDE)
    return torch.from_numpy(pixels), torch.from_numpy(np.concatenate(labels))


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N, 768) uint8, all red before green before blue, and (N,) int64 labels from 1."""
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
    """A pickle of dicts, lists, plain values and NumPy arrays, read without executing anything.

    UserError if it is missing, broken, or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); put the published file there"
        ) from error
    except UserError as error:
        raise UserError(f"{path}: not loaded, {error}") from error
    except Exception as error:  # what a broken pickle raises is not specified
        raise UserError(
            f"{path}: broken or truncated ({type(error).__name__}); fetch the file again"
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Answers the names that a pickled array needs, itself; no other name is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"it asks for {module}.{name}, which could execute code; fetch the published file"
            )
        return _ALLOWED[module, name]


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as pickles before protocol 3 use it: bytes written as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(encoding)
    return text.encode("latin1")


_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,  # written by NumPy 2
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}
