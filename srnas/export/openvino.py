"""Export to OpenVINO, through ONNX: for Intel and ARM processors."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from srnas.errors import require
from srnas.export.int8 import quantize
from srnas.export.target import EXPORT_TARGETS, Array, Content, ExportTarget, Run
from srnas.tasks.base import Ports


@EXPORT_TARGETS.register("openvino")
class OpenVINO(ExportTarget):
    """OpenVINO's IR, an .xml and a .bin file; checked in OpenVINO on the CPU.

    Inputs, outputs and sizes are those of the target "onnx". "fp16" stores the weights in half
    precision. By itself OpenVINO computes in bfloat16 on processors that have it; here files run
    with the hint "f32", which programs can set as well.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".xml", ".bin")
    limits: ClassVar[Mapping[str, float]] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}

    def convert(self, network: nn.Module, ports: Ports, precision: str) -> Content:
        """Convert the ONNX export; see `ExportTarget.convert`."""
        require("openvino", extra="openvino")
        return _from_onnx(_onnx(network, ports), half=precision == "fp16")

    def open(self, content: Content, ports: Ports, threads: int | None = None) -> Run:
        """Compile the model for the CPU; see `ExportTarget.open`."""
        require("openvino", extra="openvino")
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        core = openvino.Core()
        model = core.read_model(content[".xml"], content[".bin"])
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def run(image: Array) -> Array:
            request.infer({ports.input: image})
            output: Array = request.get_tensor(ports.output).data.copy()
            return output

        return run

    def quantized(
        self, network: nn.Module, ports: Ports, images: Sequence[Array]
    ) -> Iterator[tuple[str, Content]]:
        """Quantize the inputs of convolutions; see `ExportTarget.quantized`."""
        require("openvino", extra="openvino")
        for name, model in quantize(_onnx(network, ports), ports, images, outputs=False):
            yield name, _from_onnx(model, half=False)

    def fix(self, content: Content, ports: Ports, size: tuple[int, int]) -> Content:
        """Write the size into the model; see `ExportTarget.fix`."""
        import openvino

        model = openvino.Core().read_model(content[".xml"], content[".bin"])
        model.reshape({ports.input: [1, 3, *size]})
        return _saved(model, half=False)


def _onnx(network: nn.Module, ports: Ports) -> bytes:
    return EXPORT_TARGETS.build("onnx").convert(network, ports, "fp32")[".onnx"]


def _from_onnx(onnx_model: bytes, half: bool) -> Content:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(onnx_model)
        model = openvino.Core().read_model(file)
        model.set_friendly_name("srnas")  # instead of the file's
        return _saved(model, half)


def _saved(model: Any, half: bool) -> Content:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.xml"
        openvino.save_model(model, file, compress_to_fp16=half)
        return {suffix: file.with_suffix(suffix).read_bytes() for suffix in OpenVINO.suffixes}
