"""Random training patches, cut from decoded images wherever these are kept.

Cutting is fastest when the images are on the device.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srnas.data.draws import share
from srnas.data.images import ImagePair
from srnas.data.pixels import Keep, Pixels, load_pixels
from srnas.errors import UserError

Batch = tuple[Tensor, Tensor]


class PatchSampler:
    """An endless iterator over batches of aligned random LR and HR patches.

    All images are decoded once and kept as uint8. For each patch an image, a corner and one of
    the eight flips and transpositions are drawn uniformly; images count equally, whatever their
    size. A batch takes one gather per resolution.

    Args:
        pairs: The images.
        scale: The scale factor.
        hr_patch: Side of the HR patch in pixels, a multiple of `scale`.
        batch_size: Number of patches in a batch, over all processes.
        seed: Seed of the stream of patches.
        device: Where the batches go.
        rank: Number of this process (see `share`).
        world: Number of processes (see `share`).
        keep: Where the pixels are kept (see `load_pixels`).
        cache: Folder in which the decoded pixels are cached (see `load_pixels`).

    Yields:
        (LR, HR) of shapes (B, 3, h, h) with h = hr_patch / scale and (B, 3, hr_patch, hr_patch),
        float32 RGB in [0, 1], in channels-last memory. B is this process's share of the batch.

    Raises:
        UserError: The patch size is not a multiple of the scale, an image is smaller than the
            patch, or a pair cannot be loaded.
    """

    def __init__(
        self,
        pairs: Sequence[ImagePair],
        scale: int,
        hr_patch: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        keep: Keep = "device",
        cache: Path | None = None,
    ) -> None:
        if hr_patch % scale:
            raise UserError(f"data.hr_patch: {hr_patch} is not a multiple of the scale {scale}")
        self.batch_size = batch_size
        self.mine = share(batch_size, rank, world)
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        side = hr_patch // scale
        lr, hr = load_pixels(pairs, scale, device, keep, cache)
        for pair, size in zip(pairs, lr.sizes, strict=True):
            if size.min() < side:
                height, width = (scale * size).tolist()
                raise UserError(
                    f"{pair.hr}: {width}x{height} is smaller than "
                    f"data.hr_patch {hr_patch}; remove the image or take smaller patches"
                )
        self.count = len(pairs)
        self.names = [pair.name for pair in pairs]
        self._last = torch.empty(0, dtype=torch.long)
        self.room = lr.sizes - side + 1
        self.levels = [_Level(lr, side, 1, device), _Level(hr, hr_patch, scale, device)]

    def __iter__(self) -> "PatchSampler":
        return self

    def __next__(self) -> Batch:
        image = torch.randint(self.count, (self.batch_size,), generator=self.generator)
        place = torch.rand(self.batch_size, 2, generator=self.generator, dtype=torch.float64)
        turn = torch.randint(8, (self.batch_size,), generator=self.generator)
        corner = (place * self.room[image]).long()
        image, corner, turn = (t[self.mine] for t in (image, corner, turn))
        self._last = image
        lr, hr = (level.cut(image, corner, turn) for level in self.levels)
        return lr, hr

    @property
    def recent(self) -> list[str]:
        """Names of the images of the last batch."""
        return [self.names[index] for index in self._last]

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream of patches."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the position that `state_dict` returned."""
        self.generator.set_state(state["generator"])


class _Level:
    """Cut patches out of the pixels of one resolution.

    Args:
        pixels: The images of this resolution.
        side: Side of a patch in pixels.
        scale: Factor from LR coordinates to those of this resolution.
        device: Where the patches go.
    """

    def __init__(self, pixels: Pixels, side: int, scale: int, device: torch.device) -> None:
        self.pixels = pixels.values
        self.device = device
        self.scale = scale
        counts = pixels.sizes.prod(1)
        here = self.pixels.device
        self.start = (counts.cumsum(0) - counts).to(here)
        self.width = pixels.sizes[:, 1].to(here)
        self.rows, self.columns = (index.to(here) for index in _dihedral(side))

    def cut(self, image: Tensor, corner: Tensor, turn: Tensor) -> Tensor:
        """Cut a batch of patches.

        Args:
            image: Indices of the images, (B,).
            corner: Top and left of the patches in LR pixels, (B, 2).
            turn: Indices in [0, 8) of the flips and transpositions, (B,).

        Returns:
            Patches (B, 3, side, side), float32 in [0, 1].
        """
        image, corner, turn = (t.to(self.pixels.device) for t in (image, corner, turn))
        top, left = (self.scale * corner)[:, :, None, None].unbind(1)
        row = top + self.rows[turn]
        column = left + self.columns[turn]
        at = self.start[image][:, None, None] + row * self.width[image][:, None, None] + column
        patches = self.pixels[at].permute(0, 3, 1, 2)
        return patches.to(self.device).float() / 255


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
