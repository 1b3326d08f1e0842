"""Loss landscapes along two random directions in the space of weights or alphas."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srnas.errors import UserError

Direction = list[Tensor]
FAR = 10.0  # above this ratio of highest to lowest loss, the scale of a figure is logarithmic


class Landscape(NamedTuple):
    """Loss values on a grid.

    Attributes:
        positions: Coordinates along each direction, of shape (points,), from -span to span.
        values: Grid of shape (points, points) by name of the value. values[name][i, j] belongs to
            parameters + positions[i] * d1 + positions[j] * d2.
    """

    positions: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]


def landscape(
    loss: Callable[[], float | Mapping[str, float]],
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    normalize: Literal["filter", "tensor"] = "filter",
    span: float = 1.0,
    points: int = 51,
) -> Landscape:
    """Evaluate a loss on a grid along two random directions through the parameters.

    The method is from Li et al., Visualizing the Loss Landscape of Neural Nets (NeurIPS 2018).

    Args:
        loss: Function that returns the loss of the network with its current parameters: a number,
            named "loss" in the result, or several numbers by name. It should use fixed images and
            run the network in evaluation mode, because random batches add noise and running
            statistics are not restored.
        parameters: Parameters to vary, in which the two `random_directions` are drawn. Their values
            are restored exactly afterwards, also after an exception.
        generator: Random number generator of the directions, on the CPU.
        normalize: Normalization of the directions, see `random_directions`.
        span: Largest distance from the parameters along each direction.
        points: Number of grid points along each direction, at least 2. If it is odd, the central
            point is the parameters themselves.

    Raises:
        ValueError: The parameters do not fit `normalize`, see `random_directions`.
        UserError: All parameters are 0.
    """
    d1, d2 = random_directions(parameters, generator, normalize)
    start = [p.detach().clone() for p in parameters]
    positions = span * (np.arange(1 - points, points, 2) / (points - 1))  # the centre is exactly 0
    values: dict[str, NDArray[np.float64]] = {}
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


def draw_landscape(positions: NDArray[Any], loss: NDArray[Any], of: str) -> bytes:
    """Draw the contours of a loss landscape, with a cross at the unperturbed network.

    Args:
        positions: Coordinates along both directions, (points,).
        loss: Loss, (points, points); [i, j] is the loss at parameters + positions[i] d1 +
            positions[j] d2. The figure is white where it is not finite.
        of: The parameters that were moved, for the title.

    Returns:
        The figure as PNG bytes.
    """
    from matplotlib.colors import LogNorm  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_invalid(loss.T)
    how: dict[str, Any] = {"levels": 24}
    if shown.min() > 0 and shown.max() > FAR * shown.min():
        how = {"levels": np.geomspace(shown.min(), shown.max(), 25), "norm": LogNorm()}
    filled = axes.contourf(positions, positions, shown, **how)
    levels = np.asarray(filled.levels)
    axes.contour(filled, levels=levels[::2], colors="white", linewidths=0.5, alpha=0.6)
    axes.plot(0, 0, "+", color="red", ms=10)
    axes.set(xlabel="first direction", ylabel="second direction", aspect="equal")
    axes.set_title(f"Loss along random directions of the {of}", fontsize=10)
    figure.colorbar(filled, label="loss", shrink=0.85, ticks=levels[::4], format="%.3g")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def random_directions(
    parameters: Sequence[Tensor],
    generator: torch.Generator,
    normalize: Literal["filter", "tensor"] = "filter",
) -> tuple[Direction, Direction]:
    """Draw two orthogonal Gaussian directions in the space of the parameters.

    The directions are normalized first. Then <d1, d2> / ||d1||^2 * d1 is subtracted from the second
    one, which makes it orthogonal to the first and changes its norms.

    Args:
        parameters: Parameters that the directions belong to.
        generator: Random number generator on the CPU, so that a seed gives the same directions on
            every device.
        normalize: "filter", for weights, gives each output filter the norm of the parameter's
            filter, and does not move one-dimensional tensors (biases, BatchNorm), as in Li et al.
            "tensor", for alphas, gives each tensor the norm of its parameter, as in the code of
            DARTS-.

    Returns:
        Two directions, each with one tensor for each parameter.

    Raises:
        ValueError: `normalize` is "filter", but all parameters are one-dimensional, as alphas are.
        UserError: All parameters are 0, so that both directions would be 0.
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
    """Rescale each output filter to the norm of the parameter's filter."""
    if parameter.dim() <= 1:
        return torch.zeros_like(parameter)
    norms: list[Tensor] = [t.flatten(1).norm(dim=1) for t in (parameter, direction)]
    return direction * (norms[0] / norms[1]).view(-1, *[1] * (parameter.dim() - 1))


def _like_tensor(direction: Tensor, parameter: Tensor) -> Tensor:
    """Rescale a tensor to the norm of the parameter."""
    ratio: Tensor = parameter.norm() / direction.norm()
    return direction * ratio


def _inner(a: Direction, b: Direction) -> Tensor | int:
    return sum((u * v).sum() for u, v in zip(a, b, strict=True))
