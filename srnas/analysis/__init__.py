"""Analyses of searches: trajectories, loss landscapes, gradients and substitutions."""

from srnas.analysis.gradients import (
    Correlation,
    edge_gradient_correlations,
    operator_gradients,
    weight_gradient_correlation,
)
from srnas.analysis.landscape import Landscape, landscape
from srnas.analysis.substitution import Substitution, substitute
from srnas.analysis.trajectory import Convergence, convergence, parameter_free_candidates, summarize

__all__ = [
    "Convergence",
    "Correlation",
    "Landscape",
    "Substitution",
    "convergence",
    "edge_gradient_correlations",
    "landscape",
    "operator_gradients",
    "parameter_free_candidates",
    "substitute",
    "summarize",
    "weight_gradient_correlation",
]
