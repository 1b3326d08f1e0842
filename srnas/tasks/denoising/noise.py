"""Reproducible Gaussian noise on patches and on whole images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnas.data.draws import share
from srnas.data.images import ImagePair
from srnas.data.patches import PatchSampler
from srnas.distributed import Process

Image = NDArray[np.uint8]


class NoisyBatches:
    """An endless iterator over batches of noisy patches with their clean versions.

    Args:
        sigma: Standard deviation of the noise, in levels of 255.
        patch: Side of a patch in pixels.
        batch_size: Number of patches in a batch, over all processes. Every process draws the noise
            of the whole batch and uses its share, so that the data does not depend on `process`.
        keep: Where the pixels are kept (see `srnas.data.pixels.load_pixels`).

    Yields:
        (noisy, clean) of shape (B, 3, patch, patch) each, float32 RGB. Clean patches are in [0, 1];
        noisy ones are not clipped.

    Raises:
        UserError: An image cannot be read, or is smaller than a patch.
    """

    def __init__(
        self,
        images: Sequence[ImagePair],
        sigma: float,
        patch: int,
        batch_size: int,
        seed: int,
        process: Process,
        keep: Any = "device",
    ) -> None:
        self.patches = PatchSampler(images, 1, patch, batch_size, seed, process, keep)
        self.count = self.patches.count
        self.sigma = sigma
        self.mine = share(batch_size, process)
        self.shape = (batch_size, 3, patch, patch)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> "NoisyBatches":
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        _, clean = next(self.patches)
        noise = torch.randn(self.shape, generator=self.generator)[self.mine]
        return clean + self.sigma / 255 * noise.to(clean.device), clean

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream."""
        return {"patches": self.patches.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.patches.load_state_dict(state["patches"])
        self.generator.set_state(state["generator"])


def noisy(image: Image, sigma: float, seed: int) -> NDArray[np.float32]:
    """Add Gaussian noise to an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        sigma: Standard deviation in levels of 255.

    Returns:
        (H, W, 3) float32 RGB in levels of 255, not clipped.
    """
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return (image + noise).astype(np.float32)
