"""Edges that leave the same feature map, fused.

The edges of a cell that read one feature map have the same candidates. One by one they are many
small calls. Fused, k edges with C channels are one convolution and one BatchNorm of k C channels
for each candidate, and what has no weights (ReLU, pooling with its BatchNorm) runs once. Outputs,
gradients and running statistics are those of the edges one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice.mixed_op import MixedOp, PartialMixedOp, add_all
from srnas.fast import on
from srnas.fast.depthwise import depthwise_conv2d
from srnas.fast.folding import layers_of, weighted_output, without_zeros
from srnas.fast.memory_format import dense, in_fast_memory
from srnas.fast.merging import mergeable
from srnas.primitives.batchnorm import BatchNorm2d, track
from srnas.primitives.darts import FactorizedReduce, Zero
from srnas.primitives.depthwise import DepthwiseConv2d

Weights = Mapping[str, Tensor]
Node = tuple[nn.ModuleList, Callable[[Sequence[Tensor]], Tensor]]  # edges, and sum of their outputs

NORMS = (BatchNorm2d, nn.BatchNorm2d)
WITHOUT_WEIGHTS = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Identity, Zero)
LAYERS = (nn.Conv2d, DepthwiseConv2d, FactorizedReduce, *NORMS, *WITHOUT_WEIGHTS)


def run_nodes(nodes: Sequence[Node], inputs: Sequence[Tensor]) -> list[Tensor] | None:
    """Run the nodes of a cell, map after map: all edges that leave one run before the next node.

    Args:
        nodes: The edges of each node, from the inputs of the cell and the nodes before it.
        inputs: Inputs of the cell, (B, C, H, W) each.

    Returns:
        The output of each node; None if this is switched off.
    """
    if not on("fused_edges"):
        return None
    maps = list(inputs)
    terms: list[list[Tensor]] = [[] for _ in nodes]
    for number in range(len(inputs) + len(nodes)):
        if number >= len(inputs):
            index = number - len(inputs)
            maps.append(nodes[index][1](terms[index]))
        readers = [
            (edges[number], term)
            for (edges, _), term in zip(nodes, terms, strict=True)
            if number < len(edges)
        ]
        outputs = run_edges([edge for edge, _ in readers], maps[number])
        for (_, term), output in zip(readers, outputs, strict=True):
            term.append(output)
    return maps[len(inputs) :]


def run_edges(edges: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """Apply the edges that leave a feature map.

    Mixed operations of the same shape run together in training; other modules, those with hooks,
    and those that merge linear candidates one by one.

    Args:
        edges: The operation of each edge.
        x: Feature map (B, C, H, W).

    Returns:
        The output of each edge, (B, C, H', W').
    """
    partials = [edge for edge in edges if isinstance(edge, PartialMixedOp)]
    mixed = [edge.mixed for edge in partials] or [e for e in edges if isinstance(e, MixedOp)]
    rows = [without_zeros(op.candidates, op.computed()) for op in mixed]
    alike = all(
        op.training and op.shape == mixed[0].shape and not mergeable(op.primitives, row)[0]
        for op, row in zip(mixed, rows, strict=True)
    )
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in [*edges, *mixed])
    if len(edges) < 2 or len(mixed) < len(edges) or hooked or not alike:
        return [edge(x) for edge in edges]
    if not partials:
        return _mixed(mixed, rows, x)
    searched, passing = partials[0].split(x)
    bypasses = [edge.bypass for edge in partials]
    if next(bypasses[0].parameters(), None) is None:
        passed = [bypasses[0](passing)] * len(partials)
    else:
        passed = [bypass(passing) for bypass in bypasses]
    outputs = _mixed(mixed, rows, searched)
    return [edge.join(*parts) for edge, *parts in zip(partials, outputs, passed, strict=True)]


def copies_by_convolution(x: Tensor) -> bool:
    """Return whether a convolution may copy a map: on a GPU it may round it to TF32."""
    return x.device.type == "cpu"


def _mixed(ops: Sequence[MixedOp], rows: Sequence[Weights], x: Tensor) -> list[Tensor]:
    """Return the output of each operation: candidates that all have together, the others alone."""
    x = dense(x)
    fused = _FusedSum(len(ops), x)
    outputs: list[list[Tensor]] = [[] for _ in ops]
    for name in dict.fromkeys(name for row in rows for name in row):
        candidates = [op.candidates[name] for op, row in zip(ops, rows, strict=True) if name in row]
        same = all(op.primitives.get(name) == ops[0].primitives.get(name) for op in ops)
        if same and len(candidates) == len(ops) and _fusible(candidates):
            fused.add(candidates, torch.stack([row[name] for row in rows]))
            continue
        for op, row, output in zip(ops, rows, outputs, strict=True):
            if name in row:
                output.append(weighted_output(row[name], op.candidates[name], x))
    for op, output in zip(ops, outputs, strict=True):
        output += op.auxiliary(x)
    for part, output in zip(fused.outputs(), outputs, strict=False):
        output.append(part)
    return [add_all(output) for output in outputs]


def _fusible(candidates: Sequence[nn.Module]) -> bool:
    """Return whether candidates of one primitive consist of layers that can run together."""
    return all(
        type(layer) in LAYERS
        and (type(layer) is not nn.Conv2d or (layer.groups, layer.padding_mode) == (1, "zeros"))
        and (type(layer) is not FactorizedReduce or type(layer.bn) in NORMS)
        for candidate in candidates
        for layer in layers_of(candidate)
    )


@dataclass
class _Map:
    """A feature map of all edges.

    Attributes:
        x: (B, k C, H, W), or (B, C, H, W) if it is the same for all edges.
        shared: Whether it is the same for all edges.
        scale, shift: (k, C) each, still to be applied; None for none.
    """

    x: Tensor
    shared: bool
    scale: Tensor | None = None
    shift: Tensor | None = None


class _FusedSum:
    """The sum of candidates that k edges have in common.

    Args:
        count: k.
        x: Input of the edges, (B, C, H, W).
    """

    def __init__(self, count: int, x: Tensor) -> None:
        self.count, self.x = count, x
        self.rectified: Tensor | None = None
        self.wide: list[Tensor] = []
        self.shared: list[_Map] = []

    def add(self, candidates: Sequence[nn.Module], weights: Tensor) -> None:
        """Add one candidate of each edge, multiplied by its weight.

        Args:
            candidates: The candidate of each edge.
            weights: Their weights (k,).
        """
        columns = list(zip(*map(layers_of, candidates), strict=True))
        y = _Map(self.x, True)
        for number, column in enumerate(columns, 1):
            y = self._layer(column, y, weights if number == len(columns) else None)
        if not y.shared:
            if isinstance(columns[-1][0], WITHOUT_WEIGHTS):
                y.x = weights.repeat_interleave(y.x.shape[1] // self.count)[:, None, None] * y.x
            self.wide.append(y.x)
            return
        if y.scale is None:
            y.scale = weights[:, None].expand(-1, y.x.shape[1])
        self.shared.append(y)

    def outputs(self) -> Sequence[Tensor]:
        """Return the sum of each edge, (B, C, H', W'), or nothing if nothing was added."""
        if self.shared:
            self.wide.append(self._spread())
        return add_all(self.wide).chunk(self.count, dim=1) if self.wide else ()

    def _spread(self) -> Tensor:
        """Return the sums of the maps that all edges share, (B, k C, H', W').

        They may be a pointwise convolution over all of them, which takes less time than products
        and sums of maps.
        """
        scales = [cast(Tensor, y.scale) for y in self.shared]
        shifts = [y.shift.flatten() for y in self.shared if y.shift is not None]
        shift = add_all(shifts) if shifts else None
        if copies_by_convolution(self.x):
            eye = torch.eye(self.shared[0].x.shape[1]).to(self.x)
            kernels = [(scale.to(eye)[:, :, None] * eye).flatten(0, 1) for scale in scales]
            maps = torch.cat([y.x for y in self.shared], dim=1)
            return F.conv2d(maps, torch.cat(kernels, dim=1)[:, :, None, None], shift)
        total = add_all(
            [
                scale.to(y.x).flatten()[:, None, None] * self._repeated(y.x)
                for scale, y in zip(scales, self.shared, strict=True)
            ]
        )
        return total if shift is None else total + shift.to(total)[:, None, None]

    def _layer(self, layers: Sequence[nn.Module], y: _Map, weights: Tensor | None) -> _Map:
        """Apply one layer of each edge; `weights` (k,) are those of its output."""
        first = layers[0]
        if type(first) is nn.ReLU:
            return _Map(self._relu(y.x), y.shared)
        if isinstance(first, WITHOUT_WEIGHTS):
            return _Map(first(y.x), y.shared)
        if isinstance(first, NORMS):
            return self._norm(cast(Sequence[nn.BatchNorm2d], layers), y, weights)
        if isinstance(first, FactorizedReduce):
            reductions = cast(Sequence[FactorizedReduce], layers)
            y = self._reduce(reductions, _Map(self._relu(y.x), y.shared))
            return self._norm([layer.bn for layer in reductions], y, weights)
        return self._conv(cast(Sequence[nn.Conv2d], layers), y, weights)

    def _relu(self, x: Tensor) -> Tensor:
        if x is not self.x:
            return torch.relu(x)
        if self.rectified is None:
            self.rectified = torch.relu(x)
        return self.rectified

    def _conv(self, layers: Sequence[nn.Conv2d], y: _Map, weights: Tensor | None) -> _Map:
        first = layers[0]
        weight = torch.stack([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if layer.bias is not None]
        bias = torch.stack(biases) if biases else None
        if weights is not None:
            weight = weight * weights[:, None, None, None, None]
            bias = None if bias is None else bias * weights[:, None]
        weight = weight.flatten(0, 1)
        bias = None if bias is None else bias.flatten()
        if isinstance(first, DepthwiseConv2d):
            x = self._repeated(y.x) if y.shared else y.x
            return _Map(
                depthwise_conv2d(x, weight, bias, first.stride[0], first.dilation[0]), False
            )
        groups = 1 if y.shared else self.count
        x = F.conv2d(y.x, weight, bias, first.stride, first.padding, first.dilation, groups)
        return _Map(x, False)

    def _repeated(self, x: Tensor) -> Tensor:
        """Repeat channels k times, (B, C, H, W) to (B, k C, H, W).

        A pointwise convolution may do it in less time than a copy.
        """
        if not copies_by_convolution(x):
            return torch.cat([x] * self.count, dim=1)
        return F.conv2d(x, torch.eye(x.shape[1]).to(x).repeat(self.count, 1)[:, :, None, None])

    def _reduce(self, layers: Sequence[FactorizedReduce], y: _Map) -> _Map:
        """Apply the convolutions of factorized reductions, as one of 2x2 pixels with stride 2."""
        weights = []
        for layer in layers:
            even = F.pad(layer.even.weight, (0, 1, 0, 1))
            odd = F.pad(layer.odd.weight, (1, 0, 1, 0))
            weights += [even, odd]
        groups = 1 if y.shared else self.count
        return _Map(F.conv2d(y.x, torch.cat(weights), stride=2, groups=groups), False)

    def _norm(self, norms: Sequence[nn.BatchNorm2d], y: _Map, weights: Tensor | None) -> _Map:
        """Apply BatchNorms, and update their running statistics as they do."""
        first = norms[0]
        if y.shared and first.affine and weights is None:
            y = _Map(self._repeated(y.x), False)
        wide = not y.shared
        tracked = first.running_mean
        mean = None if tracked is None else tracked.new_zeros(y.x.shape[1])
        variance = None if mean is None else torch.zeros_like(mean)
        scale, shift = _affine(norms, weights)
        norm = partial(
            F.batch_norm,
            running_mean=mean,
            running_var=variance,
            weight=scale.flatten() if wide and scale is not None else None,
            bias=shift.flatten() if wide and shift is not None else None,
            training=True,
            momentum=1.0,
            eps=first.eps,
        )
        x = in_fast_memory(norm, y.x)
        if mean is not None and variance is not None:
            parts = [t.chunk(self.count) if wide else [t] * self.count for t in (mean, variance)]
            for one, *statistics in zip(norms, *parts, strict=True):
                track(one, *statistics)
        return _Map(x, False) if wide else _Map(x, True, scale, shift)


def _affine(
    norms: Sequence[nn.BatchNorm2d], weights: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return scales and shifts (k, C) of BatchNorms whose outputs are multiplied by `weights`."""
    channels = norms[0].num_features
    if not norms[0].affine:
        return None if weights is None else weights[:, None].repeat(1, channels), None
    scale = torch.stack([norm.weight for norm in norms])
    shift = torch.stack([norm.bias for norm in norms])
    if weights is None:
        return scale, shift
    return weights[:, None] * scale, weights[:, None] * shift
