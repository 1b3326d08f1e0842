"""Batches from BasicSR's data sets, named in YAML as in BasicSR's own options.

    data:
      train:
        basicsr: {type: PairedImageDataset, dataroot_gt: ..., dataroot_lq: ..., ...}

`scale`, `phase` and `gt_size` are filled in (from the space, "train", `data.hr_patch`). For data
that srnas does not read or make itself: LMDB, meta files, blind degradations.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from srnas.basicsr_bridge import basicsr
from srnas.data.draws import DrawStream, drawn, seeded
from srnas.data.patches import Batch
from srnas.errors import UserError, did_you_mean


class BasicSRStream(DrawStream):
    """An endless iterator over shuffled batches of a BasicSR data set.

    BasicSR crops and flips with the global random generators; here each draw seeds them.

    options: the data set's, with `type`. hr_patch: side of the HR patch in pixels.
    workers, rank, world: as in `DrawStream`.

    Yields (LR, HR): (B, 3, h, h) and (B, 3, hr_patch, hr_patch), float32 RGB in [0, 1], in
    channels-last memory. Raises UserError for a type that BasicSR does not have, options that
    it does not take, a data set that does not give a pair, and files that it cannot read.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        scale: int,
        hr_patch: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        dataset = _build(options, scale, hr_patch)
        draws = _Draws(dataset, scale, hr_patch, seed)
        super().__init__(draws, len(dataset), batch_size, device, rank, world, workers)


class _Draws(Dataset):
    """Draw number -> (LR, HR)."""

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
        **copy.deepcopy(dict(options)),  # data sets take entries out of it
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
        told = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"data: {kind} cannot be opened: {told}") from error
    return dataset
