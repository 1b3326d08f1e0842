"""Measurements on searches: trajectories, loss landscapes, gradients, substitutions."""

from srnas.analysis.landscape import Landscape, landscape
from srnas.analysis.trajectory import (
    Convergence,
    convergence,
    parameter_free_candidates,
    summarize,
)

__all__ = [
    "Convergence",
    "Landscape",
    "convergence",
    "landscape",
    "parameter_free_candidates",
    "summarize",
]
