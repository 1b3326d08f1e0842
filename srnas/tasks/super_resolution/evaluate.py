"""Apply networks or bicubic interpolation to data sets and measure metrics, by name."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srnas.choice import Space, Supernet
from srnas.components import Component, check_component
from srnas.data.bicubic import resize_uint8
from srnas.data.images import DecodedPair, ImagePair
from srnas.distributed import move
from srnas.errors import UserError
from srnas.metrics import METRICS, Metric
from srnas.metrics.metric import Image
from srnas.tasks.super_resolution.protocols import PROTOCOLS, Protocol

Upscale = Callable[[Image], Image]  # from LR to SR, both (H, W, 3) uint8 RGB
TAKEN = {  # keys of results beside their metrics
    "bicubic", "bicubic_psnr", "dataset", "explained", "images", "lr_difference_to_bicubic",
    "lr_source", "metrics", "name", "tiled",
}  # fmt: skip


class NetworkUpscale:
    """Apply a network to an image: a function from LR to SR, both (H, W, 3) RGB of 8 or 16 bits.

    Args:
        network: Network from (B, 3, H, W) to (B, 3, scale * H, scale * W), with values in [0, 1].
            It is moved to `device` and to channels-last memory format.
        device: Device that the network runs on.
        self_ensemble: Whether to average the results over the eight flips and transpositions of
            the image (Timofte et al., Seven ways to improve example-based single image super
            resolution, CVPR 2016). This takes eight times the computation.
    """

    def __init__(
        self, network: nn.Module, device: torch.device, self_ensemble: bool = False
    ) -> None:
        self.network = move(network, device)
        self.device = device
        self.turns = range(8) if self_ensemble else range(1)

    def __call__(self, lr: Image) -> Image:
        """Upscale an image, (H, W, 3) uint8 or uint16; the output is rounded to the same type.

        Raises:
            UserError: The image is too small for the network, or the output is not finite.
        """
        sr = self.tensor(to_tensor(lr, self.device))[0]
        rounded = (sr * np.iinfo(lr.dtype).max).round().permute(1, 2, 0)
        if lr.dtype == np.uint8:
            rounded = rounded.byte()
        return rounded.cpu().numpy().astype(lr.dtype, copy=False)

    @torch.inference_mode()
    def tensor(self, lr: Tensor) -> Tensor:
        """Upscale (B, 3, H, W) in [0, 1] to (B, 3, scale*H, scale*W), float32, clipped to [0, 1].

        The network runs in evaluation mode and returns to its previous mode afterwards.

        Raises:
            UserError: The image is too small for the network, or the output is not finite.
        """
        smallest = self.network.min_size if isinstance(self.network, Space | Supernet) else 1
        height, width = lr.shape[2:]
        if min(height, width) < smallest:
            raise UserError(
                f"an LR image of {width}x{height} is too small for this network; "
                f"its sides must be at least {smallest}"
            )
        x = lr.to(self.device).float()
        training = self.network.training
        self.network.eval()
        try:
            results = [_turn_back(self.network(_turn(x, t)).float(), t) for t in self.turns]
        finally:
            self.network.train(training)
        sr = sum(results[1:], results[0]) / len(results)
        if not torch.isfinite(sr).all():
            raise UserError("the network's output is not finite: its weights are broken")
        return sr.clamp(0, 1)


def to_tensor(image: Image, device: torch.device) -> Tensor:
    """Return an image, (H, W, 3) of 8 or 16 bits, as (1, 3, H, W) float32 in [0, 1] on a device."""
    own = np.array(image) if image.dtype == np.uint8 else image.astype(np.float32)
    levels = torch.from_numpy(own).permute(2, 0, 1)[None].to(device).float()
    return levels / np.iinfo(image.dtype).max


def _turn(x: Tensor, turn: int) -> Tensor:
    """Apply flips and a transposition by the bits of `turn`: rows (1), columns (2), transpose (4).

    x has shape (B, C, H, W). The flips come before the transposition.
    """
    x = x.flip([axis for axis in (2, 3) if turn & (axis - 1)])
    return x.transpose(2, 3) if turn & 4 else x


def _turn_back(x: Tensor, turn: int) -> Tensor:
    """Invert `_turn`."""
    x = x.transpose(2, 3) if turn & 4 else x
    return x.flip([axis for axis in (2, 3) if turn & (axis - 1)])


def bicubic(scale: int) -> Upscale:
    """Return MATLAB's bicubic upscaling, the baseline in the first row of every table."""
    return lambda lr: resize_uint8(lr, scale)


class Measurement:
    """Collect metrics of one method's SR images, image by image.

    Args:
        protocol: Protocol of the reported results.
        others: Further protocols whose PSNR and SSIM are measured on the same SR images.
        metrics: Metrics by name; by default the protocol's PSNR and SSIM.
    """

    def __init__(
        self,
        scale: int,
        protocol: Protocol,
        others: Sequence[Protocol] = (),
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self.scale, self.protocol, self.others = scale, protocol, others
        self.metrics = protocol.metrics if metrics is None else metrics
        self.images: list[dict[str, Any]] = []
        self.explained: list[list[dict[str, float]]] = [[] for _ in others]

    def add(self, name: str, sr: Image, hr: Image) -> dict[str, float]:
        """Measure one image.

        Args:
            name: Name of the image in the result.
            sr: SR image, (H, W, 3) uint8 RGB.
            hr: HR image of the same shape.

        Raises:
            UserError: The image is too small for a protocol or a metric, or a metric is not a
                number.
        """
        try:
            values = self.protocol(sr, hr, self.scale, self.metrics)
            for other, rows in zip(self.others, self.explained, strict=True):
                rows.append(other(sr, hr, self.scale))
        except ValueError as error:
            raise UserError(f"{name}: cannot be evaluated ({error})") from error
        for metric, value in values.items():
            if math.isnan(value):
                raise UserError(f"{name}: metric {metric} is not a number")
        self.images.append({"name": name, **values})
        return values

    def result(self) -> dict[str, Any]:
        """Return the results of all images so far and their means.

        Returns:
            {"metrics": names, "images": [{"name", and each metric by name}]}, and by each of the
            names the mean over the images, such as "psnr" (dB) and "ssim". If there are other
            protocols, their means are added as "explained": [{"protocol", "description", "psnr",
            "ssim"}].
        """
        result: dict[str, Any] = {
            **_means(self.images, self.metrics),
            "metrics": list(self.metrics),
            "images": self.images,
        }
        if self.others:
            result["explained"] = [
                {
                    "protocol": other.name,
                    "description": other.description,
                    **_means(rows, other.metrics),
                }
                for other, rows in zip(self.others, self.explained, strict=True)
            ]
        return result


def _means(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in names}


def open_metrics(
    metrics: Sequence[Component[Metric] | Mapping[str, Any] | str],
    protocol: Protocol,
    device: torch.device,
) -> dict[str, Metric]:
    """Build metrics.

    Args:
        metrics: The metrics, in any of their forms; "psnr" and "ssim" are those of the protocol.
        device: Device of metrics that are networks.

    Raises:
        UserError: There is no such metric, it lacks a package or a file, or has the name of
            something else in results.
    """
    if isinstance(metrics, str):
        raise UserError(f"metrics: {metrics!r}; give a list of names")
    parts = [check_component(METRICS, metric, "metrics") for metric in metrics]
    for part in parts:
        if part.name in TAKEN:
            raise UserError(f"metric {part.name!r}: results hold something else under this name")
    opened = {part.name: protocol.metrics.get(part.name) or part.build() for part in parts}
    for metric in opened.values():
        metric.to(device)
    return opened


def evaluate(
    upscale: Upscale,
    pairs: Sequence[ImagePair | DecodedPair],
    scale: int,
    protocol: Protocol,
    others: Sequence[Protocol] = (),
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, Any]:
    """Measure metrics of an upscaling method on pairs of LR and HR images.

    Args:
        upscale: Method to evaluate.
        pairs: Image pairs; an LR image without a file is made from HR by bicubic downscaling.
        scale, protocol, others, metrics: See `Measurement`.

    Returns:
        Results of each image and their means, see `Measurement.result`.

    Raises:
        UserError: A pair cannot be loaded, `upscale` fails, or as in `Measurement.add`.
    """
    measurement = Measurement(scale, protocol, others, metrics)
    for pair in pairs:
        lr, hr = pair.load(scale)
        measurement.add(pair.name, upscale(lr), hr)
    return measurement.result()


def mean_psnr(upscale: Upscale, pairs: Sequence[ImagePair | DecodedPair], scale: int) -> float:
    """Return the mean PSNR of a method in dB, by protocol `basicsr`; see `evaluate`."""
    protocol = PROTOCOLS["basicsr"]
    only = {"psnr": protocol.metrics["psnr"]}
    return evaluate(upscale, pairs, scale, protocol, metrics=only)["psnr"]
