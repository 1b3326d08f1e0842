"""Super-resolution as a task: patches, a loss between SR and HR, PSNR and SSIM."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from srnas.data.basicsr_stream import BasicSRStream
from srnas.data.images import ImagePair, decode, pair_folders, select
from srnas.data.options import ImagesOptions
from srnas.data.packaged import packaged_pairs
from srnas.data.patches import Batch, PatchSampler
from srnas.engine.distributed import Place, primary_first
from srnas.engine.evaluate import NetworkUpscale, evaluate
from srnas.errors import UserError
from srnas.losses import LOSSES, Loss
from srnas.metrics import PROTOCOLS
from srnas.options import SearchOptions, TrainOptions

Patches = PatchSampler | BasicSRStream


class SuperResolution:
    """loss: (SR, HR) -> scalar. val: pairs to validate on, decoded here, so that a broken one
    is told before anything runs. precision: of the network's pass."""

    def __init__(
        self,
        scale: int,
        loss: Loss,
        val: Sequence[ImagePair],
        device: torch.device,
        precision: str = "float32",
    ) -> None:
        self.scale, self.criterion = scale, loss
        self.val = decode(val, scale)
        self.device = device
        self.precision = precision

    @property
    def val_count(self) -> int:
        """How many images it validates on."""
        return len(self.val)

    score = "psnr"

    @staticmethod
    def describe(quality: dict[str, float]) -> str:
        """A validation in a few words."""
        return f"val PSNR {quality['psnr']:.3f} dB"

    def test(self, network: nn.Module) -> dict[str, float]:
        """Nothing: the benchmark sets are `srnas test`'s."""
        return {}

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


def open_super_resolution(
    options: SearchOptions | TrainOptions,
    place: Place,
    streams: Sequence[str],
    pooled: bool = False,
) -> tuple[SuperResolution, list[Patches]]:
    """The task, and an endless iterator of batches for each of the `streams` (splits of the
    data).

    pooled: the first stream has the images of all. UserError for images that cannot be read,
    patches that do not fit, and an image file in two splits.
    """
    data, scale = options.data, options.space["scale"]
    sources = {split: getattr(data, split) for split in (*streams, "val")}
    pairs = {
        split: open_images(f"data.{split}", scale, images)
        for split, images in sources.items()
        if images and not images.basicsr
    }
    if sources["val"] and sources["val"].basicsr:
        raise UserError("data.val: give hr: FOLDER; BasicSR's data sets serve training only")
    check_disjoint(pairs)
    if pooled and streams[0] in pairs:
        pairs[streams[0]] = [p for split in streams if split in pairs for p in pairs[split]]
    opened: list[Patches] = []
    for stream, split in enumerate(streams):
        common = {
            "scale": scale,
            "hr_patch": data.hr_patch,
            "batch_size": data.batch_size,
            "seed": 2 * options.seed + stream,
            "device": place.device,
            "rank": place.rank,
            "world": place.world,
        }
        if split in pairs:
            with primary_first(place):
                opened.append(
                    PatchSampler(pairs[split], **common, keep=data.keep, cache=data.cache)
                )
        else:
            opened.append(BasicSRStream(sources[split].basicsr, **common, workers=data.workers))
    loss = LOSSES.build(options.loss)
    task = SuperResolution(scale, loss, pairs.get("val", []), place.device, options.precision)
    return task, opened


def open_images(where: str, scale: int, images: ImagesOptions) -> list[ImagePair]:
    """The pairs that the options describe; `where` names them in errors."""
    if images.packaged is not None:
        return packaged_pairs(images.packaged)
    return select(pair_folders(images.hr, images.lr, scale), images.images, where)


def check_disjoint(splits: dict[str, Sequence[ImagePair]]) -> None:
    """UserError if one image file serves two purposes."""
    owner: dict[Path, str] = {}
    for split, pairs in splits.items():
        for pair in pairs:
            path = pair.hr.resolve()
            if owner.setdefault(path, split) != split:
                raise UserError(f"data: {pair.hr} is in both {owner[path]} and {split}")
