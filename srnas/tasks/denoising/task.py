"""The task of denoising: noisy patches, a loss against clean ones, PSNR."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from srnas.choice import Space
from srnas.components import Strict
from srnas.cost import HD, profile
from srnas.data.images import DecodedPair, ImagePair, check_disjoint, decode, pair_folders
from srnas.data.packaged import packaged_pairs
from srnas.distributed import Process, choose_device, move
from srnas.errors import UserError
from srnas.files import names_and_sizes
from srnas.losses import LOSSES, Loss
from srnas.metrics.quality import psnr
from srnas.options import SearchOptions, TrainOptions
from srnas.tasks import TASKS
from srnas.tasks.base import Opened, Ports, Task
from srnas.tasks.denoising.noise import Image, NoisyBatches, noisy
from srnas.tasks.denoising.options import CleanImages, DenoisingSearchOptions, DenoisingTrainOptions


@TASKS.register("denoising")
class Denoising(Task):
    """Remove Gaussian noise of known strength from photographs.

    Args:
        loss: Loss function of denoised and clean images.
        sigma: Standard deviation of the noise, in levels of 255.
        val: Clean images for validation.
        device: Device of the batches.
        test: Clean images for the test at the end.
        precision: Precision of forward passes in training, "float32" or "bfloat16".
    """

    options: ClassVar[Mapping[str, type[Strict]]] = {
        "search": DenoisingSearchOptions,
        "train": DenoisingTrainOptions,
    }
    score = "psnr"
    curves: ClassVar[Mapping[str, str]] = {"val_psnr": "PSNR on the validation images, dB"}
    baselines: ClassVar[Mapping[str, Mapping[str, str]]] = {"val_psnr": {"val_noisy_psnr": "noisy"}}
    ports = Ports("noisy", "clean", ((48, 48), (37, 51), (120, 180)))

    def __init__(
        self,
        loss: Loss,
        sigma: float,
        val: Sequence[ImagePair],
        device: torch.device,
        *,
        test: Sequence[ImagePair] = (),
        precision: str = "float32",
    ) -> None:
        self.image_loss, self.sigma = loss, sigma
        self.val, self.test_images = decode(val, 1), decode(test, 1)
        self.device, self.precision = device, precision

    @classmethod
    def read(
        cls,
        options: SearchOptions | TrainOptions,
        process: Process,
        network: Space,
        streams: Sequence[str],
        *,
        rehearsal: bool,
    ) -> Opened:
        """Read the images, with the splits `val` and `test`; see `Task.read`."""
        assert isinstance(options, DenoisingSearchOptions | DenoisingTrainOptions), options
        data = options.data
        splits = {split: _open(getattr(data, split, None)) for split in (*streams, "val", "test")}
        check_disjoint(splits)
        task = cls(
            options.loss.build(),
            data.sigma,
            splits["val"],
            process.device,
            test=splits["test"],
            precision=options.precision,
        )

        def batches(images: Sequence[ImagePair], seed: int) -> NoisyBatches:
            return NoisyBatches(
                images, data.sigma, data.patch, data.batch_size, seed, process, data.keep
            )

        return Opened(task, splits, batches)

    @classmethod
    def identify_data(cls, options: DenoisingTrainOptions) -> str:
        """Return names and sizes of the images of a folder."""
        folder = options.data.train.folder
        return names_and_sizes(sorted(folder.iterdir())) if folder else ""

    @property
    def val_count(self) -> int:
        """Number of validation images."""
        return len(self.val)

    def with_few(self, most: int) -> Task:
        """Return a task with every n-th validation image; see `Task.with_few`."""
        few = copy.copy(self)
        few.val = self.val[:: -(-len(self.val) // most) or 1]
        return few

    def criterion(self, prediction: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of denoised images on a batch (noisy, clean)."""
        return self.image_loss(prediction, batch[1])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the mean PSNR in dB with the network ("psnr") and without ("noisy_psnr")."""
        return _measure(network, self.val, self.sigma, self.device)

    def describe(self, quality: Mapping[str, float]) -> str:
        """Summarize the PSNR, with that of the noisy images."""
        return f"val PSNR {quality['psnr']:.3f} dB (noisy: {quality['noisy_psnr']:.3f})"

    def test(self, network: nn.Module) -> dict[str, float]:
        """Return the metrics of `validate` on the test images, or {} if there are none."""
        if not self.test_images:
            return {}
        return _measure(network, self.test_images, self.sigma, self.device)

    @classmethod
    def profile(cls, network: Space, size: tuple[int, int] | None) -> dict[str, Any]:
        """Count for images of 1280x720; see `Task.profile`."""
        return profile(network, {"image_1280x720": HD}, size)

    @classmethod
    def evaluate(  # type: ignore[override]  # each task has its own arguments
        cls,
        network: Space,
        data: Mapping[str, Path | str] | Path | str,
        *,
        device: str = "auto",
        sigma: float = 25.0,
    ) -> dict[str, dict[str, float]]:
        """Measure PSNR on folders of clean images.

        Args:
            data: Folder of each set by name, or a single folder; "packaged" names the packaged
                test photographs.
            sigma: Standard deviation of the noise, in levels of 255.

        Returns:
            {"psnr", "noisy_psnr"} in dB by set.

        Raises:
            UserError: An image cannot be read.
        """
        sets = data if isinstance(data, Mapping) else {Path(data).name: data}
        opened = {
            name: packaged_pairs("test")
            if str(folder) == "packaged"
            else pair_folders(Path(folder), None, 1)
            for name, folder in sets.items()
        }
        where = choose_device(device)
        task = cls(LOSSES.build("l1"), sigma, [], where)
        return {
            name: _measure(network, decode(images, 1), task.sigma, where)
            for name, images in opened.items()
        }


@torch.inference_mode()
def denoise(network: nn.Module, image: np.ndarray[Any, Any], device: torch.device) -> Image:
    """Apply a network to an image.

    Args:
        network: The network; it is moved to `device`.
        image: (H, W, 3) RGB in levels of 255.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: The output of the network is not finite.
    """
    training = network.training
    move(network, device).eval()
    x = torch.from_numpy(image / 255).permute(2, 0, 1)[None].float().to(device)
    y = network(x)[0].float()
    network.train(training)
    if not torch.isfinite(y).all():
        raise UserError("the network's output is not finite: its weights are broken")
    denoised: Image = (y.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return denoised


def _measure(
    network: nn.Module, images: Sequence[DecodedPair], sigma: float, device: torch.device
) -> dict[str, float]:
    """Measure PSNR over all channels; the number of an image is the seed of its noise."""
    with_network, without = [], []
    for number, image in enumerate(images):
        given = noisy(image.hr, sigma, number)
        with_network.append(psnr(denoise(network, given, device), image.hr))
        without.append(psnr(given, image.hr))
    return {"psnr": fmean(with_network), "noisy_psnr": fmean(without)}


def _open(images: CleanImages | None) -> list[ImagePair]:
    if images is None:
        return []
    if images.packaged is not None:
        return packaged_pairs(images.packaged)
    assert images.folder is not None, images
    return pair_folders(images.folder, None, 1)
