"""Image classification as a task: labelled images, cross-entropy, accuracy."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.data.class_batches import evaluation_batches, training_batches
from srnas.data.classification import DATASETS
from srnas.data.folder_batches import FolderBatches
from srnas.data.image_batches import ImageBatches
from srnas.data.labelled import ClassBatch, Labelled
from srnas.engine.distributed import Place
from srnas.errors import UserError
from srnas.losses import CLASS_LOSSES
from srnas.options import SearchOptions, TrainOptions

Loss = Callable[[Tensor, Tensor], Tensor]
EVALUATION_BATCH = 256


class Classification:
    """criterion: (logits, labels) -> scalar. val: images to validate on, if any; test: those of
    the final test. auxiliary: weight of the second classifier's loss. precision: of the
    network's pass."""

    score = "accuracy"

    def __init__(
        self,
        criterion: Loss,
        val: Labelled | None,
        test: Labelled,
        device: torch.device,
        precision: str = "float32",
        auxiliary: float = 0.4,
        workers: int = 0,
    ) -> None:
        self.criterion = criterion
        self.val, self.test_split = val, test
        self.device, self.precision = device, precision
        self.auxiliary, self.workers = auxiliary, workers

    @property
    def val_count(self) -> int:
        """How many images it validates on."""
        return len(self.val) if self.val else 0

    def loss(self, network: nn.Module, batch: ClassBatch) -> Tensor:
        """The mean loss of a batch (images, labels)."""
        images, labels = batch
        outputs = self._run(network, images)
        if isinstance(outputs, tuple):
            main, second = (self.criterion(logits.float(), labels) for logits in outputs)
            return main + self.auxiliary * second
        return self.criterion(outputs.float(), labels)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """{"accuracy": top-1 in percent, "loss": cross-entropy} on the validation images."""
        return self._evaluate(network, self.val)

    @staticmethod
    def describe(quality: dict[str, float]) -> str:
        """A validation in a few words."""
        return f"val accuracy {quality['accuracy']:.2f}%"

    def test(self, network: nn.Module) -> dict[str, float]:
        """The same on the test images."""
        return self._evaluate(network, self.test_split)

    @torch.inference_mode()
    def _evaluate(self, network: nn.Module, split: Labelled) -> dict[str, float]:
        training = network.training
        network.eval()
        right = loss = torch.zeros((), device=self.device, dtype=torch.float64)
        for images, labels in evaluation_batches(
            split, EVALUATION_BATCH, self.device, self.workers
        ):
            logits = self._run(network, images).float()
            right = right + (logits.argmax(1) == labels).sum()
            loss = loss + F.cross_entropy(logits, labels, reduction="sum")
        network.train(training)
        return {"accuracy": 100 * right.item() / len(split), "loss": loss.item() / len(split)}

    def _run(self, network: nn.Module, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        half = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            return network(images)


def open_classification(
    options: SearchOptions | TrainOptions,
    place: Place,
    streams: Sequence[str],
    pooled: bool = False,
) -> tuple[Classification, list[ImageBatches | FolderBatches]]:
    """The task and its streams; see `open_task`."""
    data = options.data
    dataset = DATASETS.build(data.dataset)
    wanted = options.space["num_classes"]
    if dataset.num_classes != wanted:
        raise UserError(
            f"space.num_classes: {wanted}, but the data has {dataset.num_classes} classes"
        )
    shares = {split: getattr(data, split) for split in streams}
    _check_apart(shares)
    if pooled:
        shares[streams[0]] = _joined(list(shares.values()))
    opened = [
        training_batches(
            dataset.train.part(*shares[split]),
            data.batch_size,
            2 * options.seed + stream,
            place.device,
            place.rank,
            place.world,
            data.cutout,
            data.workers,
        )
        for stream, split in enumerate(streams)
    ]
    task = Classification(
        CLASS_LOSSES.build(options.loss),
        dataset.train.part(*data.val) if data.val else None,
        dataset.test,
        place.device,
        options.precision,
        getattr(options, "auxiliary_weight", 0.0),
        data.workers,
    )
    return task, opened


def _check_apart(shares: dict[str, tuple[float, float]]) -> None:
    ordered = sorted(shares.items(), key=lambda item: item[1])
    for (one, first), (other, second) in pairwise(ordered):
        if second[0] < first[1]:
            raise UserError(f"data: {one} {list(first)} and {other} {list(second)} overlap")


def _joined(shares: list[tuple[float, float]]) -> tuple[float, float]:
    shares = sorted(shares)
    for one, other in pairwise(shares):
        if one[1] != other[0]:
            raise UserError(
                f"data: this method trains on all images: train and alpha must meet, but "
                f"{list(one)} and {list(other)} do not"
            )
    return shares[0][0], shares[-1][1]
