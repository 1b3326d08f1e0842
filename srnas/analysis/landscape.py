"""The loss along two random directions through a network's weights or its alphas."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from srnas.errors import UserError

Direction = list[Tensor]


class Landscape(NamedTuple):
    """positions: (points,) from -span to span. values: name -> (points, points) grid.

    values[name][i, j] is at parameters + positions[i] d1 + positions[j] d2.
    """

    positions: np.ndarray
    values: dict[str, np.ndarray]


def landscape(
    loss: Callable[[], float | Mapping[str, float]],
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    normalize: Literal["filter", "tensor"] = "filter",
    span: float = 1.0,
    points: int = 51,
) -> Landscape:
    """Evaluate `loss` on a grid of parameters (Li et al., Visualizing the Loss Landscape of
    Neural Nets, NeurIPS 2018).

    loss: of the network as it stands at the call, a number (named "loss" in the result) or
        several by name. It should hold the network in evaluation mode and the images fixed:
        batches would add noise, and running statistics are not restored here.
    parameters: those to move, on which the two `random_directions` are drawn; afterwards they
        are what they were, bit for bit, after an exception too.
    normalize: see `random_directions`. An odd number of points has the parameters themselves
        in the middle; there are two at least.
    """
    d1, d2 = random_directions(parameters, generator, normalize)
    start = [p.detach().clone() for p in parameters]
    positions = span * (np.arange(1 - points, points, 2) / (points - 1))  # 0 is just that
    values: dict[str, np.ndarray] = {}
    with torch.no_grad():
        try:
            for i, a in enumerate(positions):
                for j, b in enumerate(positions):
                    for p, origin, u, v in zip(parameters, start, d1, d2, strict=True):
                        p.copy_(origin + float(a) * u + float(b) * v)
                    value = loss()
                    named = value if isinstance(value, Mapping) else {"loss": value}
                    for name, one in named.items():
                        values.setdefault(name, np.empty((points, points)))[i, j] = one
        finally:
            for p, origin in zip(parameters, start, strict=True):
                p.copy_(origin)
    return Landscape(positions, values)


def random_directions(
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    normalize: Literal["filter", "tensor"] = "filter",
) -> tuple[Direction, Direction]:
    """Two Gaussian directions, one tensor a parameter; the second orthogonal to the first.

    normalize: "filter", for weights: each output filter's norm is that of the parameter's
        filter, and tensors of one dimension (biases, BatchNorm) do not move (Li et al.).
        "tensor", for alphas: each tensor's norm is that of its parameter (as in the code of
        DARTS-). The second direction's norms are those before <d1, d2> / ||d1||^2 d1 is
        taken from it.

    generator: on the CPU, so that a seed means the same directions on every device.
    Raises ValueError if nothing would move: alphas have one dimension, they need "tensor",
    and where all are 0 (UserError) no direction is like them.
    """
    if normalize == "filter" and all(p.dim() <= 1 for p in parameters):
        raise ValueError("parameters of one dimension have no filters; normalize='tensor' fits")
    rescale = _like_filters if normalize == "filter" else _like_tensor
    d1, d2 = (
        [rescale(torch.randn(p.shape, generator=generator).to(p), p.detach()) for p in parameters]
        for _ in range(2)
    )
    if not _inner(d1, d1):
        raise UserError("landscape: all parameters are 0, and so would be directions of their norm")
    share = _inner(d1, d2) / _inner(d1, d1)
    return d1, [v - share * u for u, v in zip(d1, d2, strict=True)]


def _like_filters(direction: Tensor, parameter: Tensor) -> Tensor:
    if parameter.dim() <= 1:
        return torch.zeros_like(parameter)
    norms = [t.flatten(1).norm(dim=1) for t in (parameter, direction)]
    return direction * (norms[0] / norms[1]).view(-1, *[1] * (parameter.dim() - 1))


def _like_tensor(direction: Tensor, parameter: Tensor) -> Tensor:
    return direction * (parameter.norm() / direction.norm())


def _inner(a: Direction, b: Direction) -> Tensor:
    return sum((u * v).sum() for u, v in zip(a, b, strict=True))
