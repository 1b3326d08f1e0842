"""Export to ONNX, in a single file with dynamic batch, height and width."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from srnas.errors import require
from srnas.export.int8 import quantize
from srnas.export.target import EXPORT_TARGETS, Array, Content, ExportTarget, Run
from srnas.tasks.base import Ports


@EXPORT_TARGETS.register("onnx")
class ONNX(ExportTarget):
    """ONNX; the file is checked in ONNX Runtime.

    A super-resolution network maps the input "lr", (N, 3, H, W), to the output "sr", (N, 3,
    scale*H, scale*W), both float32 RGB in [0, 1]; "sr" is not clipped. With "fp16" weights and
    activations are half precision, with "int8" those of convolutions are integers; input and output
    stay float32.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    runtime: ClassVar[str] = "onnxruntime"
    limits: ClassVar[Mapping[str, float]] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}

    def convert(self, network: nn.Module, ports: Ports, precision: str) -> Content:
        """Convert with torch's exporter; see `ExportTarget.convert`."""
        require("onnx", "onnxruntime", "onnxscript", extra="export")
        dims = {0: "batch", 2: "height", 3: "width"}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's messages to its own developers
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            file = Path(folder) / "model.onnx"
            shapes = {axis: torch.export.Dim(name, min=1) for axis, name in dims.items()}
            torch.onnx.export(
                network,
                (torch.rand(2, 3, 24, 32),),
                str(file),
                input_names=[ports.input],
                output_names=[ports.output],
                verbose=False,
                dynamo=True,
                dynamic_shapes=(shapes,),
                external_data=False,
            )
            return {".onnx": _finished(file, precision)}

    def open(self, content: Content, ports: Ports, threads: int | None = None) -> Run:
        """Return a function that runs the model in ONNX Runtime on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            content[".onnx"], options, providers=["CPUExecutionProvider"]
        )

        def run(image: Array) -> Array:
            (output,) = session.run([ports.output], {ports.input: image})
            return output

        return run

    def quantized(
        self, network: nn.Module, ports: Ports, images: Sequence[Array]
    ) -> Iterator[tuple[str, Content]]:
        """Quantize for ONNX Runtime's integer kernels; see `ExportTarget.quantized`."""
        whole = self.convert(network, ports, "fp32")[".onnx"]
        for name, model in quantize(whole, ports, images, outputs=True):
            yield name, {".onnx": model}

    def fix(self, content: Content, ports: Ports, size: tuple[int, int]) -> Content:
        """Write the size into the model; see `ExportTarget.fix`."""
        import onnx
        from onnxruntime.tools.onnx_model_utils import make_input_shape_fixed

        model = onnx.load_from_string(content[".onnx"])
        make_input_shape_fixed(model.graph, ports.input, [1, 3, *size])
        del model.graph.value_info[:]  # shapes of any size
        run = self.open({".onnx": model.SerializeToString()}, ports)
        shape = run(np.zeros((1, 3, *size), np.float32)).shape
        (output,) = model.graph.output
        for dim, side in zip(output.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = side
        return {".onnx": model.SerializeToString()}


def _beyond_half(graph: Any) -> list[str]:
    """Return the names of nodes that compute quotients of exponentials, which half cannot hold."""
    names: list[str] = []
    wide: set[str] = set()  # values
    for node in graph.node:
        follows = node.op_type in ("Mul", "AveragePool", "Div") and wide.intersection(node.input)
        if node.op_type == "Exp" or follows:
            names.append(node.name)
            wide.update(() if node.op_type == "Div" else node.output)
    return names


def _pass_wide(graph: Any) -> None:
    """Remove the casts to half and back between two nodes that compute in single precision."""
    from onnx import TensorProto

    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    to = {name: node.attribute[0].i for name, node in casts.items()}
    same = {}  # values in single precision, by what they become after both casts
    for name, node in casts.items():
        before = casts.get(node.input[0])
        if before and (to[before.output[0]], to[name]) == (TensorProto.FLOAT16, TensorProto.FLOAT):
            same[name] = before.input[0]
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for name, node in casts.items():
        if name not in used:
            graph.node.remove(node)


def _finished(file: Path, precision: str) -> bytes:
    """Return the model in its precision, without the exporter's notes on the line behind a node."""
    import onnx

    model = onnx.load(file)
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        wide = _beyond_half(model.graph)
        model = convert_float_to_float16(model, keep_io_types=True, node_block_list=wide)
        _pass_wide(model.graph)
        OnnxModel(model).topological_sort()  # the conversion appends its casts
    for node in [model.graph, *model.graph.node, *model.graph.value_info]:
        del node.metadata_props[:]
        node.doc_string = ""
    content: bytes = model.SerializeToString()
    return content
