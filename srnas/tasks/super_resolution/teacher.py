"""A teacher: a trained network whose outputs the trained one is to meet.

Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*, 2015; for super-resolution
with an L1 loss between the outputs, as here, He et al., *FAKD*, ICIP 2020.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srnas.data.images import TrainingImage
from srnas.data.patches import Batch
from srnas.data.pixels import Pixels
from srnas.data.taught import Lesson, Taught, learn, rehearse
from srnas.distributed import Process
from srnas.fast.memory_format import layout
from srnas.losses import Loss
from srnas.model_file import DEFAULT, DEFAULT_FILE
from srnas.tasks.super_resolution.options import TeacherOptions
from srnas.tasks.super_resolution.teacher_networks import open_teacher
from srnas.tasks.super_resolution.tiles import in_parts


class Teacher:
    """A teacher with its outputs for whole images, or for the patches of each batch.

    Args:
        folder: Folder of the outputs for whole images.
        rehearsal: Whether outputs that are not there are replaced by black images.

    Attributes:
        notes: What a rehearsal found out.

    Raises:
        UserError: The network cannot be opened, see `open_teacher`.
    """

    def __init__(
        self,
        options: TeacherOptions,
        scale: int,
        process: Process,
        folder: Path,
        *,
        rehearsal: bool = False,
    ) -> None:
        self.options, self.scale, self.process = options, scale, process
        self.folder, self.rehearsal = folder, rehearsal
        self.notes: list[tuple[str, str]] = []
        self.network: nn.Module = open_teacher(options.model, scale, process.device)
        self.loss: Loss | None = options.loss.build() if options.loss else None

    @property
    def on_images(self) -> bool:
        """Whether the outputs are those for whole images."""
        return self.options.on == "images"

    def teach(self, images: list[TrainingImage], lr: Pixels) -> Taught:
        """Return the outputs for whole LR images, from the cache or computed into it."""
        lesson = Lesson(
            teacher=Path(self.options.model).name,
            identity=_identity(self.options.model),
            enlarge=self._enlarge,
            scale=self.scale,
            names=[image.name for image in images],
            lr=lr,
        )
        if self.rehearsal:
            taught, note = rehearse(lesson, self.folder)
            self.notes.append(("teacher", note))
            return taught
        return learn(lesson, self.folder, self.process.primary)

    def criterion(self, loss: Loss, prediction: Tensor, batch: Batch) -> Tensor:
        """Return the weighted sum of the losses to the teacher's output and to HR.

        Args:
            loss: Loss to HR, and to the teacher's output if the teacher has none of its own.
            prediction: Output of the trained network.
            batch: (LR, HR), and the teacher's outputs if they are those for whole images.
        """
        target = batch[2] if self.on_images else self._on_patches(batch[0])
        total = self.options.weight * (self.loss or loss)(prediction, target)
        if self.options.hr_weight:
            total = total + self.options.hr_weight * loss(prediction, batch[1])
        return total

    @torch.no_grad()
    def _on_patches(self, lr: Tensor) -> Tensor:
        return self.network(lr).float()

    @torch.inference_mode()
    def _enlarge(self, image: Tensor) -> Tensor:
        """Enlarge an image; large ones in tiles, see `in_parts`."""
        lr = image.cpu().numpy()
        run, _ = in_parts(self._whole, self.scale, lr, None)
        return torch.from_numpy(run(lr))

    def _whole(self, lr: NDArray[Any]) -> Any:
        x = torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].to(self.process.device)
        y = self.network((x.float() / 255).to(memory_format=layout()))[0]
        return y.float().permute(1, 2, 0).cpu().numpy()


def _identity(file: Path) -> str:
    """Return a hash of a teacher's file."""
    path = DEFAULT_FILE if str(file) == DEFAULT and not Path(file).exists() else Path(file)
    return hashlib.sha256(path.read_bytes()).hexdigest()
