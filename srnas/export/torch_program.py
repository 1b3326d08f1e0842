"""Export to a program of torch.export, which torch runs without srnas."""

import io
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from srnas.errors import UserError
from srnas.export.target import EXPORT_TARGETS, Array, Content, ExportTarget, Run
from srnas.tasks.base import Ports


@EXPORT_TARGETS.register("torch")
class TorchProgram(ExportTarget):
    """torch.export with dynamic batch, height and width: `torch.export.load(FILE).module()`.

    The program takes sides from the network's smallest on, or from two or four times as much if the
    graph of smaller images is another one. Networks whose graph depends on the size in other ways,
    as those of classification spaces do, are refused.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".pt2",)
    holds_code: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, float]] = {"fp32": 1e-4}

    def convert(self, network: nn.Module, ports: Ports, precision: str) -> Content:
        """Trace the network and serialize its program; see `ExportTarget.convert`."""
        program = _trace(network, int(getattr(network, "min_size", 1)))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names files of this machine
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        return {".pt2": buffer.getvalue()}

    def open(self, content: Content, ports: Ports, threads: int | None = None) -> Run:
        """Load the program; see `ExportTarget.open`. `threads` holds for all of torch."""
        if threads is not None:
            torch.set_num_threads(threads)
        program = torch.export.load(io.BytesIO(content[".pt2"])).module()

        def run(image: Array) -> Array:
            with torch.no_grad():
                output: Array = program(torch.from_numpy(image)).numpy()
            return output

        return run


def _trace(network: nn.Module, least: int) -> torch.export.ExportedProgram:
    why = ""
    for smallest in (least, 2 * least, 4 * least):
        dims = {
            0: torch.export.Dim("batch", min=1),
            2: torch.export.Dim("height", min=smallest),
            3: torch.export.Dim("width", min=smallest),
        }
        image = torch.rand(2, 3, max(24, smallest), max(32, smallest + 2))
        try:
            return torch.export.export(network, (image,), dynamic_shapes=(dims,))
        except RuntimeError as error:
            why = why or str(error).partition("\n")[0]
    raise UserError(f"this network has no .pt2 for images of any size: {why}")
