"""Gradients of a supernet's loss: agreement between batches, and demand for candidates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from srnas.choice import MixedOp, Supernet

Loss = Callable[[], Tensor]  # runs the supernet on one batch and returns the scalar loss


class Correlation(NamedTuple):
    """Agreement of two gradients.

    Attributes:
        inner: Inner product.
        cosine: Cosine of the angle between them; 0 if one of them is zero.
    """

    inner: float
    cosine: float


def weight_gradient_correlation(supernet: Supernet, first: Loss, second: Loss) -> Correlation:
    """Compare the gradients of two losses with respect to the network weights.

    This is a cheap alternative to `edge_gradient_correlations`. The batches of the two losses may
    differ in size.

    Args:
        supernet: Supernet whose buffers, such as running statistics, are restored afterwards.
        first: Loss on one batch.
        second: Loss on the other batch.
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
    """Compare dL/do of two losses at the output o of each mixed operation.

    The measure is from Single-DARTS (Sec. 5.2.1). The inner product runs over batch, channels and
    pixels. It is near 0 for independent batches, as in a bilevel search, and equals ||dL/do||^2 if
    both losses use the same batch, as in a single-level search.

    Args:
        supernet: Supernet whose buffers, such as running statistics, are restored afterwards.
        first: Loss on one batch.
        second: Loss on a batch of the same shape.

    Returns:
        Correlation at each mixed operation, by its module name within the network.
    """
    with _buffers_kept(supernet):
        one, other = (_output_gradients(supernet, loss) for loss in (first, second))
    return {name: _correlation([one[name]], [other[name]]) for name in one}


def operator_gradients(supernet: Supernet, loss: Loss, within: str = "") -> dict[str, float]:
    """Compute dL/dp of each candidate, averaged over the mixed operations that contain it.

    p is the weight of the candidate in one mixed operation. Operations that share a row of alphas
    are treated separately.

    Args:
        supernet: Supernet whose buffers, such as running statistics, are restored afterwards.
        within: Prefix of the module names, within the network, that are included, such as
            "blocks.5." for IMDN's last block.

    Returns:
        Mean gradient by candidate name.
    """
    mixed = _mixed_ops(supernet)
    with _buffers_kept(supernet):
        gradients = _weight_gradients(supernet, loss)
    rows: dict[str, list[float]] = {}
    for name, gradient in gradients.items():
        if name.startswith(within):
            for candidate, value in zip(mixed[name].candidates, gradient.tolist(), strict=True):
                rows.setdefault(candidate, []).append(value)
    return {candidate: sum(values) / len(values) for candidate, values in rows.items()}


def _output_gradients(supernet: Supernet, loss: Loss) -> dict[str, Tensor]:
    """Return the gradient of the loss at the output of each mixed operation, by module name."""
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
    """Return the gradient for the N candidate weights of each mixed operation, by module name.

    Each operation runs with its own copy of the weights of its label. This separates operations
    that share a row of alphas.
    """
    copies: dict[str, Tensor] = {}

    def lend(name: str, op: MixedOp) -> list[RemovableHandle]:
        shared: list[Tensor] = []

        def before(module: nn.Module, inputs: Any) -> None:
            shared.append(op.shared.weights[op.label])
            copies[name] = op.shared.weights[op.label] = shared[-1].clone().requires_grad_()

        def after(module: nn.Module, inputs: Any, output: Tensor) -> None:
            op.shared.weights[op.label] = shared.pop()

        return [op.register_forward_pre_hook(before), op.register_forward_hook(after)]

    mixed = _mixed_ops(supernet)
    with _removed([handle for name, op in mixed.items() for handle in lend(name, op)]):
        value = loss()
    return _gradients(value, copies)


def _gradients(value: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of `value` for each named tensor; 0 where it does not depend on it.

    There is no dependence where every path to the loss ends in an edge that sampled "none", nor at
    such an edge itself if its sample carries no gradient.
    """
    used = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    gradients = torch.autograd.grad(value, list(used.values()), materialize_grads=True)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return zeros | dict(zip(used, gradients, strict=True))


def _mixed_ops(supernet: Supernet) -> dict[str, MixedOp]:
    """Return the mixed operations by module name within the network."""
    modules = supernet.network.named_modules()
    return {name: module for name, module in modules if isinstance(module, MixedOp)}


@contextmanager
def _removed(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Remove the hooks after the block."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _buffers_kept(supernet: Supernet) -> Iterator[None]:
    """Restore the buffers after the block, so that an analysis keeps the running statistics."""
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
