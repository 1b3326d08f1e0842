"""Export to ONNX, in a single file with dynamic batch, height and width."""

import inspect
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srnas.errors import UserError
from srnas.export.target import EXPORT_TARGETS, Array, ExportTarget
from srnas.tasks.base import Ports


@EXPORT_TARGETS.register(".onnx")
class ONNX(ExportTarget):
    """Export to ONNX; the file is checked in ONNX Runtime.

    A super-resolution network maps the input "lr", (N, 3, H, W), to the output "sr", (N, 3,
    scale*H, scale*W), both float32 RGB in [0, 1]; "sr" is not clipped.
    """

    def convert(self, network: nn.Module, ports: Ports) -> bytes:
        """Convert with torch's exporter; see `ExportTarget.convert`."""
        _require("onnx", "onnxruntime", "onnxscript")
        dims = {0: "batch", 2: "height", 3: "width"}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's messages to its own developers
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            file = Path(folder) / "model.onnx"
            how: dict[str, Any]
            if "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters:
                shapes = {k: torch.export.Dim(v, min=1) for k, v in dims.items()}
                how = {"dynamo": True, "dynamic_shapes": (shapes,), "external_data": False}
            else:  # torch 2.4
                axes = {ports.input: dims, ports.output: dims}
                how = {"dynamic_axes": axes, "opset_version": 17}
            torch.onnx.export(
                network,
                (torch.rand(2, 3, 24, 32),),
                str(file),
                input_names=[ports.input],
                output_names=[ports.output],
                verbose=False,
                **how,
            )
            return _without_traces(file)

    def open(self, content: bytes, ports: Ports) -> Callable[[Array], Array]:
        """Return a function that runs the model in ONNX Runtime on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

        def run(image: Array) -> Array:
            (output,) = session.run([ports.output], {ports.input: image})
            return output

        return run


def _require(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise UserError(
                f"export needs {error.name}; install it with: pip install 'srnas[export]'"
            ) from error


def _without_traces(file: Path) -> bytes:
    """Return the model without the exporter's notes on the Python line behind each node."""
    import onnx

    model = onnx.load(file)
    for node in [model.graph, *model.graph.node, *model.graph.value_info]:
        del node.metadata_props[:]
        node.doc_string = ""
    content: bytes = model.SerializeToString()
    return content
