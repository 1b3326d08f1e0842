"""A picture of a loss landscape."""

import io

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

FAR = 10.0  # a loss that grows by more is drawn on a logarithmic scale


def draw_landscape(positions: np.ndarray, loss: np.ndarray, of: str) -> bytes:
    """A PNG of contours with the network as it is in the middle.

    positions: (points,). loss: (points, points), at [i, j] that of parameters + positions[i] d1
    + positions[j] d2; where it is not finite the picture stays white. of: what was moved.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    shown = np.ma.masked_invalid(loss.T)
    how = {"levels": 24}
    if shown.min() > 0 and shown.max() > FAR * shown.min():
        how = {"levels": np.geomspace(shown.min(), shown.max(), 25), "norm": LogNorm()}
    filled = axes.contourf(positions, positions, shown, **how)
    axes.contour(filled, levels=filled.levels[::2], colors="white", linewidths=0.5, alpha=0.6)
    axes.plot(0, 0, "+", color="red", ms=10)
    axes.set(xlabel="first direction", ylabel="second direction", aspect="equal")
    axes.set_title(f"Loss along random directions of the {of}", fontsize=10)
    figure.colorbar(filled, label="loss", shrink=0.85, ticks=filled.levels[::4], format="%.3g")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
