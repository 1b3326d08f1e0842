"""Denoising: photographs with Gaussian noise. A small task that shows what a task needs."""

from srnas.tasks.denoising.space import DnCNN
from srnas.tasks.denoising.task import Denoising

__all__ = ["Denoising", "DnCNN"]
