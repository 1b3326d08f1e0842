"""Super-resolution: LR and HR patches, PSNR and SSIM, the benchmark sets."""

from srnas.tasks.super_resolution.task import SuperResolution

__all__ = ["SuperResolution"]
