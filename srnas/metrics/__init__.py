"""PSNR and SSIM under named protocols."""

from srnas.metrics.protocols import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol"]
