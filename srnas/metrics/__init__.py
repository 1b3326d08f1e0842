"""PSNR and SSIM under named protocols."""

from srnas.metrics.protocols import EVERY_PROTOCOL, PROTOCOLS, Protocol

__all__ = ["EVERY_PROTOCOL", "PROTOCOLS", "Protocol"]
