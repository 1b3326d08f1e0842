"""Networks that teach: srnas's own, published ones, and those of other programs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srnas.distributed import move
from srnas.errors import UserError, first_line, require
from srnas.files import check_file
from srnas.model_file import UnknownNetworkError, load_model, read_weights
from srnas.spaces.kinds import SuperResolutionSpace

PROBE = 48  # side of the image that tells the scale of an ONNX file


def open_teacher(file: Path, scale: int, device: torch.device) -> nn.Module:
    """Open a network that enlarges images, in evaluation mode and without gradients.

    Args:
        file: A model file of srnas, published weights that it recognizes, weights of an
            architecture that spandrel knows, or an ONNX file.
        scale: Scale factor that it must have.
        device: Where it runs. An ONNX file runs on the CPU.

    Returns:
        A network from (B, 3, H, W) RGB in [0, 1] to (B, 3, scale*H, scale*W). That of spandrel is
        clipped to [0, 1].

    Raises:
        UserError: The file is missing or broken, its network is not known or has another scale or
            task, or a package is missing.
    """
    network: nn.Module
    if Path(file).suffix == ".onnx":
        network = ONNXNetwork(file)
        its = network.scale
    else:
        try:
            network = load_model(file).network
        except UnknownNetworkError:
            network = SpandrelNetwork(file)
            its = network.scale
        else:
            if not isinstance(network, SuperResolutionSpace):
                raise UserError(f"teacher.model: {file}: a network for {network.task}")
            its = network.scale
    if its != scale:
        raise UserError(f"teacher.model: {file}: enlarges x{its}, but the space has scale {scale}")
    return move(network.requires_grad_(False), device).eval()


class SpandrelNetwork(nn.Module):
    """A network of an architecture that spandrel recognizes by its weights.

    Attributes:
        scale: Scale factor.

    Raises:
        UserError: spandrel is missing, does not know the weights, or the network is not for RGB
            super-resolution.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        require("spandrel", extra="spandrel", what=f"teacher.model: {file}")
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

        try:
            found = ModelLoader("cpu").load_from_state_dict(read_weights(file))
        except UnsupportedModelError as error:
            raise UserError(
                f"teacher.model: {file}: neither srnas nor spandrel knows these weights; export "
                "the network to ONNX"
            ) from error
        except UserError:
            raise
        except Exception as error:  # an architecture may raise anything on broken weights
            raise UserError(
                f"teacher.model: {file}: spandrel cannot load it ({first_line(error)})"
            ) from error
        if (
            not isinstance(found, ImageModelDescriptor)
            or (found.input_channels, found.output_channels) != (3, 3)
            or found.scale < 2
        ):
            raise UserError(
                f"teacher.model: {file}: {found.architecture.name} for {found.purpose}, not an RGB "
                "super-resolution network"
            )
        self.found: Any = found
        self.network = found.model
        self.scale: int = found.scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 3, scale*H, scale*W), RGB in [0, 1]."""
        output: Tensor = self.found(x)
        return output.clone()  # not a tensor of the inference mode


class ONNXNetwork(nn.Module):
    """A network in an ONNX file, which runs in ONNX Runtime on the CPU.

    Attributes:
        scale: Scale factor, found out by a run.

    Raises:
        UserError: onnxruntime is missing, or the file is broken or does not enlarge images of any
            size.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        require("onnxruntime", extra="export", what=f"teacher.model: {file}")
        import onnxruntime

        check_file(file)
        self.file = file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # the error below is one line
        try:
            self.session = onnxruntime.InferenceSession(
                Path(file).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            (self.input,) = (port.name for port in self.session.get_inputs())
        except Exception as error:  # every fault of a file has an error of its own
            raise UserError(
                f"teacher.model: {file}: not a usable ONNX file ({first_line(error)})"
            ) from error
        shape = self(torch.zeros(1, 3, PROBE, PROBE)).shape
        self.scale = shape[-1] // PROBE
        if shape != (1, 3, self.scale * PROBE, self.scale * PROBE) or self.scale < 2:
            raise UserError(
                f"teacher.model: {file}: not a super-resolution network: its output for an image "
                f"of {PROBE}x{PROBE} is {tuple(shape)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) float32 to (B, 3, scale*H, scale*W), image by image.

        Raises:
            UserError: The runtime fails, as with a size that the file does not take.
        """
        images = np.ascontiguousarray(x.cpu().numpy())[:, None]
        return torch.from_numpy(np.concatenate([self._run(image) for image in images])).to(x.device)

    def _run(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        try:
            output: np.ndarray[Any, Any] = self.session.run(None, {self.input: image})[0]
        except Exception as error:  # every fault has an error of its own
            height, width = image.shape[2:]
            raise UserError(
                f"teacher.model: {self.file}: fails on an image (1, 3, {height}, {width}) float32, "
                f"as a file of one size does ({first_line(error)})"
            ) from error
        return output
