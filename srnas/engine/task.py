"""What super-resolution is to an engine: batches, a loss and a validation.

Another task differs in these three; the engines stay as they are.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from srnas.data.images import ImagePair, decode, pair_folders, select
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import Batch
from srnas.engine.evaluate import NetworkUpscale, evaluate
from srnas.errors import UserError
from srnas.metrics import PROTOCOLS


class SuperResolution:
    """loss: (SR, HR) -> scalar. val: pairs to validate on, decoded here, so that a broken one
    is told before anything runs. precision: of the network's pass."""

    def __init__(
        self,
        scale: int,
        loss: Callable[[Tensor, Tensor], Tensor],
        val: Sequence[ImagePair],
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.scale, self.criterion = scale, loss
        self.val = decode(val, scale)
        self.device = device
        self.precision = precision

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of a batch (LR, HR)."""
        lr, hr = batch
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            sr = network(lr)
        return self.criterion(sr.float(), hr)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """{"psnr", "ssim"}: means over the validation images, protocol `basicsr`."""
        result = evaluate(
            NetworkUpscale(network, self.device), self.val, self.scale, PROTOCOLS["basicsr"]
        )
        return {"psnr": result["psnr"], "ssim": result["ssim"]}


def open_images(
    where: str,
    scale: int,
    hr: Path | None = None,
    lr: Path | None = None,
    images: str | None = None,
    packaged: str | None = None,
) -> list[ImagePair]:
    """The pairs that an `ImagesOptions` describes; `where` names it in errors."""
    if packaged is not None:
        return packaged_pairs(packaged)
    return select(pair_folders(hr, lr, scale), images, where)


def check_disjoint(splits: dict[str, Sequence[ImagePair]]) -> None:
    """UserError if one image file serves two purposes."""
    owner: dict[Path, str] = {}
    for split, pairs in splits.items():
        for pair in pairs:
            path = pair.hr.resolve()
            if owner.setdefault(path, split) != split:
                raise UserError(f"data: {pair.hr} is in both {owner[path]} and {split}")
