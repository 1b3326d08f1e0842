"""Apply a network, or bicubic, to data sets and measure PSNR and SSIM."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srnas.data.bicubic import resize_uint8
from srnas.data.images import DecodedPair, ImagePair
from srnas.errors import UserError
from srnas.metrics import Protocol

Upscale = Callable[[np.ndarray], np.ndarray]


class NetworkUpscale:
    """A network as a function from LR to SR, both (H, W, 3) uint8 RGB.

    self_ensemble: average the results of the image's eight flips and transpositions
        (Timofte et al., Seven ways to improve example-based single image super resolution, 2016);
        eight times the work.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, self_ensemble: bool = False
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)
        self.device = device
        self.turns = range(8) if self_ensemble else range(1)

    @torch.inference_mode()
    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """SR clipped to [0, 1], times 255, rounded. The network's mode is kept.

        UserError for an image that is too small, and for an output that is not finite.
        """
        smallest = getattr(self.network, "min_size", 1)
        if min(lr.shape[:2]) < smallest:
            raise UserError(
                f"an LR image of {lr.shape[1]}x{lr.shape[0]} is too small for this network; "
                f"its sides must be at least {smallest}"
            )
        training = self.network.training
        self.network.eval()
        x = torch.from_numpy(np.ascontiguousarray(lr)).to(self.device)
        x = x.permute(2, 0, 1)[None].float() / 255
        results = [_turn_back(self.network(_turn(x, t)).float(), t) for t in self.turns]
        sr = sum(results)[0] / len(results)
        self.network.train(training)
        if not torch.isfinite(sr).all():
            raise UserError("the network's output is not finite: its weights are broken")
        return (sr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _turn(x: Tensor, turn: int) -> Tensor:
    """One of the eight: flip rows (1), columns (2), then transpose (4)."""
    x = x.flip([axis for axis in (2, 3) if turn & (axis - 1)])
    return x.transpose(2, 3) if turn & 4 else x


def _turn_back(x: Tensor, turn: int) -> Tensor:
    x = x.transpose(2, 3) if turn & 4 else x
    return x.flip([axis for axis in (2, 3) if turn & (axis - 1)])


def bicubic(scale: int) -> Upscale:
    """MATLAB's bicubic enlargement, the row that every table starts with."""
    return lambda lr: resize_uint8(lr, scale)


class Measurement:
    """PSNR and SSIM of one method's SR images, gathered image by image.

    others: protocols to measure the same SR images under.
    """

    def __init__(self, scale: int, protocol: Protocol, others: Sequence[Protocol] = ()) -> None:
        self.scale, self.protocol, self.others = scale, protocol, others
        self.images: list[dict[str, Any]] = []
        self.explained: list[list[tuple[float, float]]] = [[] for _ in others]

    def add(self, name: str, sr: np.ndarray, hr: np.ndarray) -> float:
        """Measure one image, both (H, W, 3) uint8 RGB; returns its PSNR in dB.

        UserError if it is too small for the protocol.
        """
        try:
            quality, similarity = self.protocol(sr, hr, self.scale)
            for other, values in zip(self.others, self.explained, strict=True):
                values.append(other(sr, hr, self.scale))
        except ValueError as error:
            raise UserError(f"{name}: too small to evaluate ({error})") from error
        self.images.append({"name": name, "psnr": quality, "ssim": similarity})
        return quality

    def result(self) -> dict[str, Any]:
        """Means over the images: {"psnr", "ssim", "images": [{"name", "psnr", "ssim"}]}, and with
        others "explained": [{"protocol", "description", "psnr", "ssim"}].
        """
        result: dict[str, Any] = {
            "psnr": float(np.mean([image["psnr"] for image in self.images])),
            "ssim": float(np.mean([image["ssim"] for image in self.images])),
            "images": self.images,
        }
        if self.others:
            result["explained"] = [
                {
                    "protocol": other.name,
                    "description": other.description,
                    "psnr": float(np.mean([psnr for psnr, _ in values])),
                    "ssim": float(np.mean([ssim for _, ssim in values])),
                }
                for other, values in zip(self.others, self.explained, strict=True)
            ]
        return result


def evaluate(
    upscale: Upscale,
    pairs: Sequence[ImagePair | DecodedPair],
    scale: int,
    protocol: Protocol,
    others: Sequence[Protocol] = (),
) -> dict[str, Any]:
    """PSNR (dB) and SSIM of each image, and their means; see `Measurement` for the result."""
    measurement = Measurement(scale, protocol, others)
    for pair in pairs:
        lr, hr = pair.load(scale)
        measurement.add(pair.name, upscale(lr), hr)
    return measurement.result()
