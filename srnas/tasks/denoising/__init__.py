"""Denoising of photographs with Gaussian noise: a small task that serves as a worked example."""

from srnas.tasks.denoising.space import DnCNN
from srnas.tasks.denoising.task import Denoising

__all__ = ["Denoising", "DnCNN"]
