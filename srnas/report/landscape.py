"""Figures of loss landscapes."""

import io
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

FAR = 10.0  # above this ratio of highest to lowest loss, the scale is logarithmic


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
