"""The task of image classification: labelled images, cross-entropy, accuracy."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice import Space
from srnas.components import Strict
from srnas.cost import profile
from srnas.distributed import Process, choose_device, move
from srnas.errors import UserError
from srnas.options import SearchOptions, TrainOptions
from srnas.schedules import Schedule, Update
from srnas.spaces.kinds import ClassificationSpace
from srnas.tasks import TASKS
from srnas.tasks.base import Batches, Opened, Ports, Task
from srnas.tasks.classification.batches import evaluation_batches, training_batches
from srnas.tasks.classification.datasets import DATASETS
from srnas.tasks.classification.labelled import ClassBatch, Labelled
from srnas.tasks.classification.losses import CLASS_LOSSES, ClassLoss
from srnas.tasks.classification.options import ClassSearchOptions, ClassTrainOptions

EVALUATION_BATCH = 256
CIFAR = (32, 32)


@TASKS.register("classification")
class Classification(Task):
    """Classify images.

    Args:
        criterion: Loss function of logits and labels.
        test: Images of the final test.
        device: Device of the batches.
        val: Validation images, if any.
        precision: Precision of forward passes, "float32" or "bfloat16".
        auxiliary_weight: Weight of the auxiliary head's loss.
        workers: Number of worker processes that read image files.
        drop_path: Probability of dropping an edge, over the progress of the training.
        drop_path_update: Whether it changes every "epoch" or every "step".
    """

    options: ClassVar[Mapping[str, type[Strict]]] = {
        "search": ClassSearchOptions,
        "train": ClassTrainOptions,
    }
    score = "accuracy"
    curves: ClassVar[Mapping[str, str]] = {
        "val_accuracy": "Accuracy on the validation images, %",
        "nb201_cifar10": "CIFAR-10 accuracy of the epoch's cell in NAS-Bench-201, %",
    }
    ports = Ports("images", "logits", ((32, 32), (16, 16), (32, 64)))

    def __init__(
        self,
        criterion: ClassLoss,
        test: Labelled,
        device: torch.device,
        *,
        val: Labelled | None = None,
        precision: str = "float32",
        auxiliary_weight: float = 0.4,
        workers: int = 0,
        drop_path: Schedule | None = None,
        drop_path_update: Update = "step",
    ) -> None:
        self.class_loss = criterion
        self.val, self.test_split = val, test
        self.device, self.precision = device, precision
        self.auxiliary_weight, self.workers = auxiliary_weight, workers
        self.drop_path, self.drop_path_update = drop_path, drop_path_update

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
        """Open the data set; a split is the share of its training images, see `Task.read`."""
        assert isinstance(options, ClassSearchOptions | ClassTrainOptions), options
        data = options.data
        dataset = data.dataset.build()
        _check_classes(dataset.num_classes, network)
        shares = {split: getattr(data, split) for split in streams}
        _check_apart(shares)
        task = cls(
            options.loss.build(),
            dataset.test,
            process.device,
            val=dataset.train.subset(*data.val) if data.val else None,
            precision=options.precision,
            workers=data.workers,
            **_settings(options, network),
        )

        def batches(share: tuple[float, float], seed: int) -> Batches:
            return training_batches(
                dataset.train.subset(*share),
                data.batch_size,
                seed,
                process,
                data.cutout,
                data.workers,
            )

        return Opened(task, shares, batches, _joined)

    @property
    def val_count(self) -> int:
        """Number of validation images."""
        return len(self.val) if self.val else 0

    def criterion(self, prediction: Tensor | tuple[Tensor, Tensor], batch: ClassBatch) -> Tensor:
        """Return the mean loss on a batch (images, labels), auxiliary head included."""
        if isinstance(prediction, tuple):
            main, second = (self.class_loss(logits, batch[1]) for logits in prediction)
            return main + self.auxiliary_weight * second
        return self.class_loss(prediction, batch[1])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return top-1 accuracy in percent and cross-entropy ("loss") on the validation images."""
        assert self.val is not None
        return self._evaluate(network, self.val)

    def describe(self, quality: Mapping[str, float]) -> str:
        """Summarize the accuracy."""
        return f"val accuracy {quality['accuracy']:.2f}%"

    def test(self, network: nn.Module) -> dict[str, float]:
        """Return the metrics of `validate` on the test images."""
        return self._evaluate(network, self.test_split)

    def begin_step(self, network: nn.Module, by_step: float, by_epoch: float) -> None:
        """Set the probability of dropping an edge."""
        if self.drop_path:
            assert isinstance(network, Space)
            progress = by_epoch if self.drop_path_update == "epoch" else by_step
            network.drop_path_prob = self.drop_path(progress)

    @classmethod
    def profile(cls, network: Space, size: tuple[int, int] | None) -> dict[str, Any]:
        """Count at one input size, by default 32x32 as in CIFAR; see `Task.profile`."""
        return profile(network, {}, size or CIFAR)

    @classmethod
    def evaluate(
        cls, network: Space, data: Any, *, device: str = "auto", **how: Any
    ) -> dict[str, float]:
        """Measure top-1 accuracy (percent) and cross-entropy on the test images of a data set.

        Args:
            data: A data set as in options, for example {"name": "npz", "file": ...}.
            how: Further arguments of `Classification`, such as `precision`.
        """
        dataset = DATASETS.build(data)
        _check_classes(dataset.num_classes, network)
        criterion = CLASS_LOSSES.build("cross_entropy")
        where = choose_device(device)
        return cls(criterion, dataset.test, where, **how).test(move(network, where))

    @torch.inference_mode()
    def _evaluate(self, network: nn.Module, split: Labelled) -> dict[str, float]:
        training = network.training
        network.eval()
        right = loss = torch.zeros((), device=self.device, dtype=torch.float64)
        for images, labels in evaluation_batches(
            split, EVALUATION_BATCH, self.device, self.workers
        ):
            logits = self.predict(network, (images, labels))
            assert isinstance(logits, Tensor)
            right = right + (logits.argmax(1) == labels).sum()
            loss = loss + F.cross_entropy(logits, labels, reduction="sum")
        network.train(training)
        return {"accuracy": 100 * right.item() / len(split), "loss": loss.item() / len(split)}


def _settings(options: ClassSearchOptions | ClassTrainOptions, network: Space) -> dict[str, Any]:
    """Return the arguments of `Classification` that only searches or only trainings have."""
    if isinstance(options, ClassSearchOptions):
        return {"auxiliary_weight": 0.0}
    if options.drop_path and not network.drops_paths:
        raise UserError(f"drop_path: space {options.space.name!r} has no paths to drop")
    drop_path = options.drop_path.build() if options.drop_path else None
    return {
        "auxiliary_weight": options.auxiliary_weight,
        "drop_path": drop_path,
        "drop_path_update": options.drop_path_update,
    }


def _check_classes(count: int, network: Space) -> None:
    assert isinstance(network, ClassificationSpace), network
    if count != network.num_classes:
        raise UserError(
            f"space.num_classes: {network.num_classes}, but the data has {count} classes"
        )


def _check_apart(shares: dict[str, tuple[float, float]]) -> None:
    ordered = sorted(shares.items(), key=lambda item: item[1])
    for (one, first), (other, second) in pairwise(ordered):
        if second[0] < first[1]:
            raise UserError(f"data: {one} {list(first)} and {other} {list(second)} overlap")


def _joined(shares: Sequence[tuple[float, float]]) -> tuple[float, float]:
    shares = sorted(shares)
    for one, other in pairwise(shares):
        if one[1] != other[0]:
            raise UserError(
                f"data: this method trains on all images: train and alpha must meet, but "
                f"{list(one)} and {list(other)} do not"
            )
    return shares[0][0], shares[-1][1]
