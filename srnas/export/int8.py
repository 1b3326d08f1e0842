"""Eight-bit integer versions of networks, from fast to careful until the loss stays in a budget.

Weights are quantized per output channel, activations per tensor over the range that the calibration
images take. What an error in one convolution does to the output differs by orders of magnitude (for
IMDN it is largest at the first and last ones), and the errors add up. So the convolutions that cost
most are left in floating point, as few as the budget allows.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from srnas.data.images import benchmark_pairs, decode
from srnas.data.packaged import packaged_pairs
from srnas.errors import UserError, require
from srnas.export.target import Array, Run, to_input
from srnas.machine import time_alternately
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks.base import Ports
from srnas.tasks.super_resolution.evaluate import Upscale, mean_psnr

CALIBRATION = 16  # photographs
SHARES = (0.1, 0.2, 0.3, 0.45, 0.6)  # of the convolutions left in floating point, in turn
PROBES = 3  # calibration images on which single convolutions are tried


def quantize(
    onnx_model: bytes, ports: Ports, images: Sequence[Array], outputs: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield quantized versions of a model: all convolutions first, then fewer and fewer.

    Args:
        onnx_model: ONNX model in fp32.
        ports: Names of its input and output.
        images: Calibration images, (1, 3, H, W) float32 in [0, 1].
        outputs: Whether the outputs of convolutions are quantized as well as their inputs. ONNX
            Runtime has integer convolutions only then; OpenVINO needs the inputs only.

    Yields:
        What is quantized, and the ONNX model with pairs of QuantizeLinear and DequantizeLinear.
    """
    require("onnx", "onnxruntime", extra="export")
    quantizer = _Quantizer(onnx_model, ports, images, outputs)
    names = quantizer.convolutions
    yield "all convolutions", quantizer.model(names)
    if len(names) < 3:
        return
    yield "all convolutions but the first and the last", quantizer.model(names[1:-1])
    ranked = quantizer.by_error()
    for share in SHARES:
        count = round(share * len(names))
        if count > 2:
            kept = [name for name in names if name not in ranked[:count]]
            name = f"all convolutions but the {count} of {len(names)} that cost most"
            yield name, quantizer.model(kept)


class _Quantizer:
    """Quantizes any of a model's convolutions; the ranges are measured once."""

    def __init__(
        self, onnx_model: bytes, ports: Ports, images: Sequence[Array], outputs: bool
    ) -> None:
        import onnx
        from onnxruntime.quantization.calibrate import create_calibrator
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.ports, self.images = ports, list(images)
        self.options = {} if outputs else {"OpTypesToExcludeOutputQuantization": ["Conv"]}
        with tempfile.TemporaryDirectory() as folder:
            given, prepared, augmented = (Path(folder) / f"{name}.onnx" for name in "gpa")
            given.write_bytes(onnx_model)
            quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
            self.float = onnx.load(prepared)
            calibrator = create_calibrator(prepared, ["Conv"], augmented_model_path=str(augmented))
            for image in self.images:  # one by one, as each keeps all activations' ranges
                calibrator.collect_data(_Reader(ports.input, [image]))
            self.ranges = calibrator.compute_data()
        self.convolutions = [node.name for node in self.float.graph.node if node.op_type == "Conv"]

    def model(self, convolutions: Sequence[str]) -> bytes:
        """Return the model with these convolutions quantized."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantizer = QDQQuantizer(
            copy.deepcopy(self.float),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self.ranges,
            nodes_to_quantize=list(convolutions),
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options=dict(self.options),
        )
        quantizer.quantize_model()
        content: bytes = quantizer.model.model.SerializeToString()
        return content

    def by_error(self) -> list[str]:
        """Return the convolutions by the error of the output when they alone are quantized."""
        wanted = self._outputs(self.float.SerializeToString())

        def error(name: str) -> float:
            outputs = self._outputs(self.model([name]))
            pairs = zip(outputs, wanted, strict=True)
            return float(np.mean([np.square(got - want).mean() for got, want in pairs]))

        errors = {name: error(name) for name in self.convolutions}
        return sorted(self.convolutions, key=lambda name: -errors[name])

    def _outputs(self, content: bytes) -> list[Array]:
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return [
            np.clip(session.run([self.ports.output], {self.ports.input: image})[0], 0, 1)
            for image in self.images[:PROBES]
        ]


class _Reader:
    """A source of inputs for ONNX Runtime's calibrators."""

    def __init__(self, name: str, images: Sequence[Array]) -> None:
        self.rest = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.rest, None)


@dataclass(frozen=True)
class Budget:
    """The calibration images of a quantized network, and the quality that it may lose.

    Attributes:
        images: Calibration images, (1, 3, H, W) float32 in [0, 1].
        psnr: Returns the PSNR in dB of a run on the validation images.
        max_drop: Largest loss of it in dB.
        where: What the validation images are, for messages.
    """

    images: Sequence[Array]
    psnr: Callable[[Run], float]
    max_drop: float
    where: str


def photograph_budget(
    network: nn.Module, calibrate: Path | None, val: Path | None, max_drop: float
) -> Budget:
    """Return a budget on photographs, made smaller by the network's scale.

    Args:
        network: A super-resolution network.
        calibrate: Folder of HR photographs for calibration, of which at most 16 are used, spread
            over the folder; by default packaged photographs.
        val: Folder of a validation set, as `srnas test` takes; by default packaged photographs.
        max_drop: Largest loss in dB.

    Raises:
        UserError: The network is for another task, or a folder cannot be read.
    """
    if not isinstance(network, SuperResolutionSpace):
        raise UserError("--precision int8 is for super-resolution networks")
    scale = network.scale
    sources = benchmark_pairs(calibrate, scale) if calibrate else packaged_pairs("train")
    step = max(1, len(sources) // CALIBRATION)
    images = [_middle(pair.load(scale)[0]) for pair in sources[::step][:CALIBRATION]]
    judged = decode(benchmark_pairs(val, scale) if val else packaged_pairs("test"), scale)
    where = str(val) if val else f"{len(judged)} packaged photographs"
    return Budget(images, lambda run: mean_psnr(_upscale(run), judged, scale), max_drop, where)


def fit_budget(
    recipes: Iterator[tuple[str, Any]],
    open_content: Callable[[Any, int | None], Run],
    before: Any,
    budget: Budget,
) -> tuple[Any, list[str]]:
    """Return the first of several quantized versions that keeps a budget, and lines about it.

    Args:
        recipes: Names and contents, from fast to careful.
        open_content: Opens a content in its runtime with a number of threads (None: any).
        before: The content in fp32.

    Raises:
        UserError: None keeps it.
    """
    whole = budget.psnr(open_content(before, None))
    tried: list[str] = []
    for name, content in recipes:
        psnr = budget.psnr(open_content(content, None))
        line = f"{name}: {psnr - whole:+.3f} dB"
        if whole - psnr <= budget.max_drop:
            image = np.random.default_rng(0).random((1, 3, 180, 320), dtype=np.float32)
            calls = [partial(open_content(one, 1), image) for one in (before, content)]
            old, new = map(median, time_alternately(calls, 5))
            return content, [
                f"int8, {line} on {budget.where} (fp32 {whole:.3f} dB, int8 {psnr:.3f} dB)",
                f"input 320x180 on one thread: fp32 {old:.1f} ms, int8 {new:.1f} ms, "
                f"{old / new:.2f} times as fast",
                *(f"int8, not kept: {other}" for other in tried),
            ]
        tried.append(line)
    raise UserError(
        f"no int8 version loses at most {budget.max_drop:g} dB on {budget.where} "
        f"({'; '.join(tried)}); raise --max-drop or take fp16"
    )


def _middle(image: NDArray[np.uint8]) -> Array:
    """Return the middle of an image, at most 256x256, as (1, 3, H, W) in [0, 1]."""
    top, left = (max(0, (side - 256) // 2) for side in image.shape[:2])
    crop = image[top : top + 256, left : left + 256]
    return to_input(crop)


def _upscale(run: Run) -> Upscale:
    def upscale(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sr = np.clip(run(to_input(lr))[0], 0, 1)
        return np.round(sr * 255).astype(np.uint8).transpose(1, 2, 0)

    return upscale
