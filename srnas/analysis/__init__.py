"""Measurements on searches: trajectories, loss landscapes, gradients, substitutions."""

from srnas.analysis.trajectory import (
    Convergence,
    convergence,
    parameter_free_candidates,
    summarize,
)

__all__ = [
    "Convergence",
    "convergence",
    "parameter_free_candidates",
    "summarize",
]
