"""ONNX: one file, BatchNorm folded, dynamic batch, height and width, checked when written."""

import copy
import inspect
import logging
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srnas.errors import UserError
from srnas.export.model_file import Model
from srnas.files import write_atomic

CHECK_SIZES = ((24, 24), (37, 50), (96, 64))
TOLERANCE = 1e-4


def export_onnx(model: Model, path: Path, overwrite: bool = False) -> dict[str, float]:
    """Write `path` and compare it with PyTorch in ONNX Runtime at three LR sizes.

    The graph takes "lr": (N, 3, H, W) and gives "sr": (N, 3, scale*H, scale*W), both float32
    RGB in [0, 1] (sr not clipped). Returns "WxH" -> largest absolute difference on random
    images. Raises UserError if the file exists (without overwrite), if the extra `export` is
    not installed, or, writing nothing, if a difference exceeds 1e-4.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UserError(f"--out {path}: name it FILE.onnx")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; give --overwrite to replace it")
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401  (the exporter's)
    except ImportError as error:
        raise UserError(
            f"export needs {error.name}; install it with: pip install 'srnas[export]'"
        ) from error
    network = fold_batchnorm(model.network).eval()
    content = _to_onnx(network)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    differences = {}
    generator = np.random.default_rng(0)
    for height, width in CHECK_SIZES:
        lr = generator.random((1, 3, height, width), dtype=np.float32)
        with torch.no_grad():
            expected = model.network.eval()(torch.from_numpy(lr)).numpy()
        (sr,) = session.run(["sr"], {"lr": lr})
        difference = float(np.abs(sr - expected).max())
        if sr.shape != expected.shape or not difference <= TOLERANCE:
            raise UserError(
                f"{path}: not written: at LR {width}x{height} ONNX Runtime differs from PyTorch "
                f"by {difference:.2e} (allowed {TOLERANCE:.0e})"
            )
        differences[f"{width}x{height}"] = difference
    write_atomic(path, content)
    return differences


def fold_batchnorm(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode, each BatchNorm merged into the convolution before it."""
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if not isinstance(module, nn.Sequential):
            continue
        names = list(module._modules)
        for before, name in pairwise(names):
            pair = module._modules[before], module._modules[name]
            if isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], nn.BatchNorm2d):
                module._modules[before] = fuse_conv_bn_eval(*pair)
                module._modules[name] = nn.Identity()
    return folded


def _to_onnx(network: nn.Module) -> bytes:
    example = torch.rand(2, 3, 24, 32)
    dims = {0: "batch", 2: "height", 3: "width"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes to its own developers
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        file = Path(folder) / "model.onnx"
        if "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters:
            shapes = {k: torch.export.Dim(v, min=1) for k, v in dims.items()}
            how = {"dynamo": True, "dynamic_shapes": (shapes,), "external_data": False}
        else:  # torch 2.4
            how = {"dynamic_axes": {"lr": dims, "sr": dims}, "opset_version": 17}
        torch.onnx.export(
            network,
            (example,),
            str(file),
            input_names=["lr"],
            output_names=["sr"],
            verbose=False,
            **how,
        )
        return _without_traces(file)


def _without_traces(file: Path) -> bytes:
    """The model without the exporter's notes on which Python line made each node."""
    import onnx

    model = onnx.load(file)
    for node in [model.graph, *model.graph.node, *model.graph.value_info]:
        del node.metadata_props[:]
        node.doc_string = ""
    return model.SerializeToString()
