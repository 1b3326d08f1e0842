"""Batches from BasicSR's data sets, named in YAML as in BasicSR's own options.

    data:
      train:
        basicsr: {type: PairedImageDataset, dataroot_gt: ..., dataroot_lq: ..., ...}

`scale`, `phase` and `gt_size` are filled in (from the space, "train", `data.hr_patch`). For data
that srnas does not read or make itself: LMDB, meta files, blind degradations.
"""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from srnas.basicsr_bridge import basicsr
from srnas.data.patches import Batch
from srnas.errors import UserError, did_you_mean

AHEAD = 64  # batches between two looks at where the stream is


class BasicSRStream:
    """An endless iterator over shuffled batches of a BasicSR data set.

    BasicSR crops and flips with the global random generators; here each draw seeds them by
    its number, so that the stream is the same for any number of workers and processes, and
    goes on from a saved position.

    options: the data set's, with `type`. hr_patch: side of the HR patch in pixels.
    workers: processes that read ahead. rank, world: as in `PatchSampler`.

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
        if batch_size % world:
            raise UserError(f"data.batch_size: {batch_size} is not a multiple of {world} processes")
        self.draws = _Draws(_build(options, scale, hr_patch), scale, hr_patch, seed)
        self.count = len(self.draws.dataset)
        self.batch_size, self.device = batch_size, device
        self.mine = slice(rank, None, world)
        self.workers = workers
        self.done = 0  # batches
        self._loader: Any = None

    def __iter__(self) -> "BasicSRStream":
        return self

    def __next__(self) -> Batch:
        if self._loader is None:
            self._loader = iter(self._batches())
        try:
            lr, hr = next(self._loader)
        except UserError as error:  # from a worker it comes with the worker's traceback
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from error
        self.done += 1
        if self.done % AHEAD == 0:
            self._loader = None
        layout = {"memory_format": torch.channels_last, "non_blocking": True}
        return lr.to(self.device, **layout), hr.to(self.device, **layout)

    def state_dict(self) -> dict[str, Any]:
        """The position in the stream."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.done, self._loader = state["done"], None

    def _batches(self) -> DataLoader:
        """The batches up to the next multiple of AHEAD."""
        batches = range(self.done, self.done - self.done % AHEAD + AHEAD)
        size = self.batch_size
        return DataLoader(
            self.draws,
            batch_sampler=[list(range(b * size, (b + 1) * size))[self.mine] for b in batches],
            num_workers=self.workers,
            generator=torch.Generator(),  # else it draws from the global one
            pin_memory=self.device.type == "cuda",
        )


class _Draws(Dataset):
    """Draw number -> (LR, HR): every pass over the data set in an order of its own."""

    def __init__(self, dataset: Any, scale: int, hr_patch: int, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.shape = (3, hr_patch // scale, hr_patch // scale), (3, hr_patch, hr_patch)

    def __getitem__(self, draw: int) -> Batch:
        turn, place = divmod(draw, len(self.dataset))
        order = np.random.default_rng((self.seed, turn)).permutation(len(self.dataset))
        seed = int(np.random.SeedSequence((self.seed, draw)).generate_state(1)[0])
        kept = random.getstate(), np.random.get_state()
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            try:
                item = self.dataset[int(order[place])]
            except Exception as error:
                raise UserError(
                    f"data: BasicSR cannot read image {order[place]}: {error}"
                ) from error
            finally:
                random.setstate(kept[0])
                np.random.set_state(kept[1])
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
