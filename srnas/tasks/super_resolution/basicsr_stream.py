"""Batches from BasicSR's data sets, configured in YAML as in BasicSR's own options.

    data:
      train:
        basicsr: {type: PairedImageDataset, dataroot_gt: ..., dataroot_lq: ..., ...}

The options `scale`, `phase` and `gt_size` are filled in: from the search space, with "train", and
from `data.hr_patch`. This module is for data that srnas cannot read or make itself, such as LMDB,
meta files and blind degradations.
"""

import copy
from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset

from srnas.basicsr_bridge import basicsr
from srnas.data.draws import DrawStream, drawn, seeded
from srnas.data.patches import Batch
from srnas.distributed import Process
from srnas.errors import UserError, did_you_mean


class BasicSRStream(DrawStream):
    """An endless iterator over shuffled batches of a BasicSR data set.

    BasicSR draws crops and flips from the global random generators. They are seeded again for each
    draw, so that the stream is reproducible.

    Args:
        options: Options of the data set, including `type`.
        hr_patch: Side of the HR patches in pixels.
        batch_size, process, workers: See `DrawStream`.

    Yields:
        Batches (LR, HR) of shapes (B, 3, hr_patch / scale, hr_patch / scale) and
        (B, 3, hr_patch, hr_patch): float32 RGB in [0, 1], in channels-last memory format.

    Raises:
        UserError: BasicSR has no data set of this type or does not accept the options, the data set
            is empty or does not return pairs of the expected shapes, a file cannot be read, or
            the number of processes does not divide `batch_size`.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        scale: int,
        hr_patch: int,
        batch_size: int,
        seed: int,
        process: Process,
        workers: int = 0,
    ) -> None:
        dataset = _build(options, scale, hr_patch)
        draws = _Draws(dataset, scale, hr_patch, seed)
        super().__init__(draws, len(dataset), batch_size, process, workers)


class _Draws(Dataset[Batch]):
    """Map a draw number to a pair (LR, HR)."""

    def __init__(self, dataset: Any, scale: int, hr_patch: int, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.shape = (3, hr_patch // scale, hr_patch // scale), (3, hr_patch, hr_patch)

    def __getitem__(self, draw: int) -> Batch:
        index = drawn(self.seed, draw, len(self.dataset))
        with seeded(self.seed, draw):
            try:
                item = self.dataset[index]
            except Exception as error:
                raise UserError(f"data: BasicSR cannot read image {index}: {error}") from error
        if "lq" not in item or "gt" not in item:
            raise UserError(
                f"data: {type(self.dataset).__name__} gives {', '.join(item)}; a search needs "
                "pairs (lq and gt), as of PairedImageDataset"
            )
        pair = item["lq"], item["gt"]
        if tuple(tuple(t.shape) for t in pair) != self.shape:
            raise UserError(
                f"data: {type(self.dataset).__name__} gives {tuple(pair[0].shape)} and "
                f"{tuple(pair[1].shape)}; expected {self.shape[0]} and {self.shape[1]}"
            )
        return pair


def _build(options: Mapping[str, Any], scale: int, hr_patch: int) -> Any:
    """Build the data set from BasicSR's registry, with defaults for a file-based training set."""
    basicsr("data")
    registry = basicsr("utils.registry").DATASET_REGISTRY
    names = [name for name, _ in registry]
    kind = options.get("type")
    if kind not in names:
        raise UserError(
            f"data: BasicSR has no data set of type {kind!r}; {did_you_mean(str(kind), names)}"
        )
    settled = {
        "io_backend": {"type": "disk"},
        "use_hflip": True,
        "use_rot": True,
        "gt_size": hr_patch,
        **copy.deepcopy(dict(options)),  # BasicSR's data sets remove entries
        "scale": scale,
        "phase": "train",
    }
    try:
        dataset = registry.get(kind)(settled)
        if not len(dataset):
            raise UserError(f"data: {kind} finds no images")
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"data: {kind} needs the option {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"data: {kind} cannot be opened: {reason}") from error
    return dataset
