"""Synthetic images of coloured gratings, for tests and demonstrations without files."""

import math

import torch
from torch import Tensor

NOISE = 0.1  # standard deviation of Gaussian noise, for pixel values in [0, 1]


def gratings(num_classes: int, count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Generate noisy images of gratings; the labels cycle through the classes.

    A class determines the orientation of the grating, between 0 and 90 degrees or mirrored at
    random, and its hue. Frequency, phase and contrast are drawn for each image. The mean colour of
    an image carries no information about its class.

    Args:
        count: Number of images.
        side: Height and width of the images, in pixels.

    Returns:
        RGB images of shape (count, 3, side, side), uint8, and labels of shape (count,), int64.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, generator=generator)

    labels = torch.arange(count) % num_classes
    share = (labels / num_classes).view(-1, 1, 1)
    mirrored = 1 - 2 * torch.randint(2, (count, 1, 1), generator=generator)
    angle = math.pi / 2 * share * mirrored
    row, column = (torch.arange(side) / side).view(-1, 1), torch.arange(side) / side
    place = angle.cos() * column + angle.sin() * row
    wave = torch.cos(2 * math.pi * (uniform(3, 5) * place + uniform(0, 1)))
    hue = math.pi * (share[..., None] + torch.tensor([0, 2 / 3, 4 / 3]).view(3, 1, 1))
    images = 0.5 + (uniform(0.2, 0.4) * wave)[:, None] * hue.cos()
    images = images + NOISE * torch.randn(images.shape, generator=generator)
    return (255 * images).round().clamp(0, 255).byte(), labels
