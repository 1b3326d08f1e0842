"""Random training patches, cut from decoded images wherever these are kept.

Cutting is fastest when the images are on the device.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srnas.data.draws import share
from srnas.data.images import TrainingImage
from srnas.data.pixels import Keep, Pixels, load_pixels
from srnas.data.taught import Taught
from srnas.distributed import Process
from srnas.errors import UserError

Batch = tuple[Tensor, ...]
"""LR, HR and, if there is a teacher, its output."""


class PatchSampler:
    """An endless iterator over batches of aligned random LR and HR patches.

    All images are decoded once and kept as uint8. For each patch an image, a corner and one of
    the eight flips and transpositions are drawn uniformly; images count equally, whatever their
    size. A batch takes one gather per resolution.

    Args:
        pairs: The images. Those without HR need `teach`; the teacher's output is their HR.
        hr_patch: Side of the HR patch in pixels, a multiple of `scale`.
        batch_size: Number of patches in a batch, over all processes.
        process: Where the batches go, and whose share they are.
        keep: Where the pixels are kept (see `load_pixels`).
        cache: Folder in which the decoded pixels are cached (see `load_pixels`).
        teach: Maps the LR images to a teacher's outputs for them.

    Yields:
        (LR, HR) of shapes (B, 3, h, h) with h = hr_patch / scale and (B, 3, hr_patch, hr_patch),
        float32 RGB in [0, 1], in channels-last memory. B is this process's share of the batch.
        With `teach`, (LR, HR, teacher's output); this output is not clipped.

    Raises:
        UserError: The patch size is not a multiple of the scale, an image is smaller than the
            patch, or a pair cannot be loaded.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingImage],
        scale: int,
        hr_patch: int,
        batch_size: int,
        seed: int,
        process: Process,
        keep: Keep = "device",
        cache: Path | None = None,
        teach: Callable[[Pixels], Taught] | None = None,
    ) -> None:
        if hr_patch % scale:
            raise UserError(f"data.hr_patch: {hr_patch} is not a multiple of the scale {scale}")
        self.batch_size = batch_size
        self.mine = share(batch_size, process)
        device = process.device
        self.generator = torch.Generator().manual_seed(seed)
        side = hr_patch // scale
        lr, hr = load_pixels(pairs, scale, device, keep, cache)
        for pair, size in zip(pairs, lr.sizes, strict=True):
            if size.min() < side:
                height, width = (size if pair.hr is None else scale * size).tolist()
                raise UserError(
                    f"{pair.file}: {width}x{height} is smaller than "
                    f"data.hr_patch {hr_patch}; remove the image or take smaller patches"
                )
        self.count = len(pairs)
        self.names = [pair.name for pair in pairs]
        self._last = torch.empty(0, dtype=torch.long)
        self.room = lr.sizes - side + 1
        taught = teach(lr) if teach else None
        self.taught = taught.key if taught else None
        self.levels = [_Level(lr, side, 1, device)]
        if taught:
            output = taught.pixels.kept(device, keep)
            hr = _completed(hr, output)
            self.levels += [_Level(one, hr_patch, scale, device) for one in (hr, output)]
        else:
            self.levels.append(_Level(hr, hr_patch, scale, device))

    def __iter__(self) -> "PatchSampler":
        return self

    def __next__(self) -> Batch:
        image = torch.randint(self.count, (self.batch_size,), generator=self.generator)
        place = torch.rand(self.batch_size, 2, generator=self.generator, dtype=torch.float64)
        turn = torch.randint(8, (self.batch_size,), generator=self.generator)
        corner = (place * self.room[image]).long()
        image, corner, turn = (t[self.mine] for t in (image, corner, turn))
        self._last = image
        return tuple(level.cut(image, corner, turn) for level in self.levels)

    @property
    def recent(self) -> list[str]:
        """Names of the images of the last batch."""
        return [self.names[index] for index in self._last]

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream of patches, and what identifies the teacher's part."""
        taught = {"taught": self.taught} if self.taught else {}
        return {"generator": self.generator.get_state(), **taught}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the position that `state_dict` returned.

        Raises:
            UserError: The teacher or the images are others than before.
        """
        if state.get("taught") != self.taught:
            raise UserError(
                "teacher: it or the images have changed since this run began; bring them back, or "
                "start under another name=..."
            )
        self.generator.set_state(state["generator"])


def _completed(hr: Pixels, output: Pixels) -> Pixels:
    """Give the images without HR the output of the teacher, rounded to 8 bits."""
    empty = (hr.sizes.prod(1) == 0).tolist()
    if not any(empty):
        return hr
    images = (
        (output.image(i).float() * 255).round().clamp(0, 255).byte() if lacks else hr.image(i)
        for i, lacks in enumerate(empty)
    )
    return Pixels(output.sizes, torch.cat([image.reshape(-1, 3) for image in images]))


class _Level:
    """Cut patches out of the pixels of one resolution.

    Args:
        pixels: The images of this resolution.
        side: Side of a patch in pixels.
        scale: Factor from LR coordinates to those of this resolution.
    """

    def __init__(self, pixels: Pixels, side: int, scale: int, device: torch.device) -> None:
        self.pixels = pixels.values
        self.device = device
        self.scale = scale
        self.white = 255 if self.pixels.dtype == torch.uint8 else 1
        here = self.pixels.device
        self.start = pixels.starts.to(here)
        self.width = pixels.sizes[:, 1].to(here)
        self.rows, self.columns = (index.to(here) for index in _dihedral(side))

    def cut(self, image: Tensor, corner: Tensor, turn: Tensor) -> Tensor:
        """Cut a batch of patches.

        Args:
            image: Indices of the images, (B,).
            corner: Top and left of the patches in LR pixels, (B, 2).
            turn: Indices in [0, 8) of the flips and transpositions, (B,).

        Returns:
            Patches (B, 3, side, side), float32, 1 for white.
        """
        image, corner, turn = (t.to(self.pixels.device) for t in (image, corner, turn))
        top, left = (self.scale * corner)[:, :, None, None].unbind(1)
        row = top + self.rows[turn]
        column = left + self.columns[turn]
        at = self.start[image][:, None, None] + row * self.width[image][:, None, None] + column
        patches = self.pixels[at].permute(0, 3, 1, 2)
        return patches.to(self.device).float() / self.white


def _dihedral(side: int) -> tuple[Tensor, Tensor]:
    """Return the row and column indices of a square's eight flips and transpositions.

    Both are of shape (8, side, side).
    """
    square = torch.arange(side * side).view(side, side)
    turned = []
    for base in (square, square.T):
        turned += [base, base.flip(0), base.flip(1), base.flip(0, 1)]
    index = torch.stack(turned)
    return index // side, index % side
