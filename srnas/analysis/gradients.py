"""Gradients of a supernet's loss: do two batches agree, and which candidates are asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from srnas.choice import Supernet
from srnas.choice.mixed_op import MixedOp

Loss = Callable[[], Tensor]  # a forward pass of the supernet on one batch -> scalar


class Correlation(NamedTuple):
    """Of two gradients: their inner product, and their cosine (0 if one of them is zero)."""

    inner: float
    cosine: float


def weight_gradient_correlation(supernet: Supernet, first: Loss, second: Loss) -> Correlation:
    """Of the gradients of two losses with respect to the weights.

    A cheap stand-in for `edge_gradient_correlations`; here the batches may differ in size.
    """
    parameters = supernet.weight_parameters()
    with _buffers_kept(supernet):
        one, other = (
            torch.autograd.grad(loss(), parameters, materialize_grads=True)
            for loss in (first, second)
        )
    return _correlation(one, other)


def edge_gradient_correlations(
    supernet: Supernet, first: Loss, second: Loss
) -> dict[str, Correlation]:
    """Of dL/do at the output o of each mixed operation (Single-DARTS, Sec. 5.2.1).

    The inner product is over batch, channels and pixels: near 0 for independent batches, as a
    bilevel search takes them, and ||dL/do||^2 where both are one batch (a single-level search).

    The two losses' batches have one shape. Keys are module names within the network.
    """
    with _buffers_kept(supernet):
        one, other = (_output_gradients(supernet, loss) for loss in (first, second))
    return {name: _correlation([one[name]], [other[name]]) for name in one}


def operator_gradients(supernet: Supernet, loss: Loss, within: str = "") -> dict[str, float]:
    """candidate -> dL/dp, its mean over the mixed operations that have it.

    p is the candidate's weight in one mixed operation, each taken by itself where several
    share an alpha row. within: the start of the names, in the network, of the modules that
    count, such as "blocks.5." for IMDN's last block.
    """
    with _buffers_kept(supernet):
        gradients = _weight_gradients(supernet, loss)
    rows: dict[str, list[float]] = {}
    for name, gradient in gradients.items():
        if name.startswith(within):
            candidates = supernet.network.get_submodule(name).candidates
            for candidate, value in zip(candidates, gradient.tolist(), strict=True):
                rows.setdefault(candidate, []).append(value)
    return {candidate: sum(values) / len(values) for candidate, values in rows.items()}


def _output_gradients(supernet: Supernet, loss: Loss) -> dict[str, Tensor]:
    """Name of each mixed operation -> dL/d its output."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[name] = output

        return hook

    mixed = _mixed_ops(supernet)
    with _removed([op.register_forward_hook(keep(name)) for name, op in mixed.items()]):
        value = loss()
    return _gradients(value, outputs)


def _weight_gradients(supernet: Supernet, loss: Loss) -> dict[str, Tensor]:
    """Name of each mixed operation -> dL/d its candidates' weights, (N,).

    While it runs, each operation sees a copy of its label's weights in the mixture.
    """
    copies: dict[str, Tensor] = {}

    def lend(name: str, op: MixedOp) -> list[Any]:
        shared: list[Tensor] = []

        def before(module: nn.Module, inputs: Any) -> None:
            shared.append(op.mixture.weights[op.label])
            copies[name] = op.mixture.weights[op.label] = shared[-1].clone().requires_grad_()

        def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
            op.mixture.weights[op.label] = shared.pop()

        return [op.register_forward_pre_hook(before), op.register_forward_hook(after)]

    mixed = _mixed_ops(supernet)
    with _removed([handle for name, op in mixed.items() for handle in lend(name, op)]):
        value = loss()
    return _gradients(value, copies)


def _gradients(value: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """name -> dL/d the tensor; 0 where L does not depend on it: behind edges that sampled "none",
    and at such edges if the sample has no gradient of its own."""
    used = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    gradients = torch.autograd.grad(value, list(used.values()), materialize_grads=True)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return zeros | dict(zip(used, gradients, strict=True))


def _mixed_ops(supernet: Supernet) -> dict[str, MixedOp]:
    modules = supernet.network.named_modules()
    return {name: module for name, module in modules if isinstance(module, MixedOp)}


@contextmanager
def _removed(handles: Sequence[Any]) -> Iterator[None]:
    """Takes the hooks off again."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _buffers_kept(supernet: Supernet) -> Iterator[None]:
    """A look at a search does not move its running statistics."""
    start = [buffer.clone() for buffer in supernet.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(supernet.buffers(), start, strict=True):
            buffer.copy_(value)


def _correlation(one: Sequence[Tensor], other: Sequence[Tensor]) -> Correlation:
    def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
        return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))

    product, norms = inner(one, other), inner(one, one) * inner(other, other)
    return Correlation(product, product / norms**0.5 if norms else 0.0)
