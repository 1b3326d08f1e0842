"""Exported files as networks, so that they are measured like trained networks."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srnas.errors import UserError, first_line
from srnas.export.target import EXPORT_TARGETS, Array, Run, target_names
from srnas.files import check_file
from srnas.tasks.base import Ports

PROBE = 24  # side of the image that tells the scale


def is_exported(file: Path) -> bool:
    """Return whether a file has the suffix of an export that holds no code: .onnx, .xml, .param."""
    name = target_names().get(Path(file).suffix)
    return name is not None and not EXPORT_TARGETS.build(name).holds_code


class ExportedNetwork(nn.Module):
    """An exported super-resolution network, run in its own runtime on the CPU.

    Args:
        file: The export, as `export` wrote it; of two files the first one (.xml, .param).
        ports: Names of its input and output.

    Attributes:
        scale: Scale factor, found out by a run.

    Raises:
        UserError: A file or the runtime is missing, the runtime cannot open the file or take images
            of any size, or its output is no enlarged image.
    """

    def __init__(self, file: Path, ports: Ports) -> None:
        super().__init__()
        self.file = Path(file)
        target = EXPORT_TARGETS.build(target_names()[self.file.suffix])
        parts = {suffix: self.file.with_suffix(suffix) for suffix in target.suffixes}
        for part in parts.values():
            check_file(part)
        try:
            content = {suffix: part.read_bytes() for suffix, part in parts.items()}
            self._run: Run = target.open(content, ports, torch.get_num_threads())
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        except OSError:
            raise
        except Exception as error:  # every runtime has errors of its own
            raise UserError(f"{file}: its runtime cannot open it: {first_line(error)}") from error
        shape = self._output(np.zeros((1, 3, PROBE, PROBE), np.float32)).shape
        self.scale = shape[-1] // PROBE
        if shape != (1, 3, self.scale * PROBE, self.scale * PROBE):
            raise UserError(f"{file}: not a super-resolution network: its output is {shape}")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 3, scale*H, scale*W), both float32 RGB in [0, 1], not clipped.

        Raises:
            UserError: The runtime fails, as with a size that the file does not take.
        """
        images = [self._output(one) for one in np.ascontiguousarray(x.cpu().numpy())[:, None]]
        return torch.from_numpy(np.concatenate(images)).to(x.device)

    def _output(self, image: Array) -> Array:
        try:
            return self._run(image)
        except Exception as error:  # every runtime has errors of its own
            height, width = image.shape[2:]
            raise UserError(
                f"{self.file}: its runtime fails on an image of {width}x{height}, which a file of "
                f"one size (--input) does not take: {first_line(error)}"
            ) from error
