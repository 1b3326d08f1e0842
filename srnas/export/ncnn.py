"""Export to ncnn, through pnnx: for phones, upscayl and Real-ESRGAN-ncnn."""

import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from srnas.data.packaged import packaged_pairs
from srnas.errors import UserError, require
from srnas.export.target import EXPORT_TARGETS, Array, Content, ExportTarget, Run
from srnas.model_file import Model
from srnas.spaces.kinds import SuperResolutionSpace
from srnas.tasks.base import Ports
from srnas.tasks.super_resolution.evaluate import NetworkUpscale, mean_psnr
from srnas.tasks.super_resolution.tiles import MarginTiles

INPUT, OUTPUT = "data", "output"  # as upscayl and Real-ESRGAN-ncnn name them
TILES = (200, 100, 32)  # sides in LR pixels, which those programs choose by the GPU's memory
EXP, DIVIDE = "0=7", "0=3"  # of UnaryOp and BinaryOp
SINGLE = "31=3"  # ncnn's mask of a layer that neither computes nor stores in half precision
TRACED = ((48, 64), (33, 37))  # two sizes (height, width), so that pnnx keeps them dynamic


@EXPORT_TARGETS.register("ncnn")
class NCNN(ExportTarget):
    """ncnn, a .param and a .bin file; checked in ncnn on the CPU.

    The blobs are "data", (3, H, W) float32 RGB in [0, 1], and "output". "fp16" stores the weights
    in half precision; ncnn computes in the precision that its options and the device choose.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".param", ".bin")
    limits: ClassVar[Mapping[str, float]] = {"fp16": 2e-2, "fp32": 1e-3}

    def convert(self, network: nn.Module, ports: Ports, precision: str) -> Content:
        """Convert with pnnx; see `ExportTarget.convert`."""
        require("ncnn", "pnnx", extra="ncnn")
        import pnnx

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is deprecated, but what pnnx reads
            with torch.no_grad():
                traced = torch.jit.trace(network, torch.rand(1, 3, *TRACED[0]))
            traced.save(f"{folder}/model.pt")
            shapes = [f"[1,3,{height},{width}]f32" for height, width in TRACED]
            done = subprocess.run(
                [
                    pnnx.EXEC_PATH,
                    "model.pt",
                    f"inputshape={shapes[0]}",
                    f"inputshape2={shapes[1]}",
                    f"fp16={int(precision == 'fp16')}",
                ],
                cwd=folder,
                capture_output=True,
                text=True,
            )
            files = [Path(folder) / f"model.ncnn{suffix}" for suffix in self.suffixes]
            if done.returncode or not all(file.is_file() for file in files):
                said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
                raise UserError(f"pnnx cannot convert this network: {said[-1]}")
            param, weights = (file.read_bytes() for file in files)
        return {".param": _in_single(_named(param)), ".bin": weights}

    def open(self, content: Content, ports: Ports, threads: int | None = None) -> Run:
        """Load the files into ncnn; see `ExportTarget.open`."""
        import ncnn

        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.use_bf16_storage = False
        net.opt.num_threads = threads or 1
        with tempfile.TemporaryDirectory() as folder:
            for suffix in self.suffixes:
                (Path(folder) / f"model{suffix}").write_bytes(content[suffix])
            loaded = [
                net.load_param(f"{folder}/model.param"),
                net.load_model(f"{folder}/model.bin"),
            ]
        if any(loaded):
            raise UserError("ncnn cannot load this network: a layer that it does not know")

        def run(image: Array) -> Array:
            return np.stack([_one(net, single) for single in image])

        return run

    def notes(self, model: Model) -> list[str]:
        """Measure what the tiles of Real-ESRGAN-ncnn and upscayl cost; see `ExportTarget.notes`."""
        if not isinstance(model.network, SuperResolutionSpace):
            return []
        upscale = NetworkUpscale(model.network, torch.device("cpu"))
        scale, pairs = model.network.scale, packaged_pairs("test")
        whole = mean_psnr(upscale, pairs, scale)
        costs = []
        for tile in TILES:
            in_tiles = mean_psnr(MarginTiles(upscale, scale, tile), pairs, scale)
            costs.append(f"{in_tiles - whole:+.3f} dB with tiles of {tile}")
        return [
            f"in tiles with a margin of 10 pixels, PSNR on {len(pairs)} photographs changes by "
            + ", ".join(costs)
        ]


def _one(net: Any, image: Array) -> Array:
    import ncnn

    extractor = net.create_extractor()
    array = np.ascontiguousarray(image)
    extractor.input(INPUT, ncnn.Mat(array).clone())  # a Mat of an array shares its memory
    failed, output = extractor.extract(OUTPUT)
    if failed:
        raise UserError("ncnn failed to run this network")
    return np.array(output)


def _named(param: bytes) -> bytes:
    """Rename the blobs of input and output."""
    names = {"in0": INPUT, "out0": OUTPUT}
    lines = []
    for line in param.decode().splitlines():
        fields = line.split(" ")
        lines.append(" ".join(names.get(field, field) for field in fields))
    return ("\n".join(lines) + "\n").encode()


def _in_single(param: bytes) -> bytes:
    """Keep quotients of exponentials in single precision, which half cannot hold.

    ncnn computes in half precision by itself on phones and GPUs, whatever the weights are.
    """
    lines: list[str] = []
    wide: set[str] = set()  # blobs
    for line in param.decode().splitlines():
        kind, *fields = line.split()
        if len(fields) > 2:  # a layer: name, numbers of inputs and outputs, these, parameters
            end = 3 + int(fields[1])
            inputs, outputs = fields[3:end], fields[end : end + int(fields[2])]
            follows = kind in ("Split", "BinaryOp", "Pooling") and wide.intersection(inputs)
            if follows or (kind == "UnaryOp" and EXP in fields):
                line += f" {SINGLE}"
                wide.update(() if (kind == "BinaryOp" and DIVIDE in fields) else outputs)
        lines.append(line)
    return ("\n".join(lines) + "\n").encode()
