"""Terms added to the loss of the alphas: `term(supernet) -> scalar`, one a file."""

from srnas.registry import Registry

REGULARIZERS = Registry("regularizer")

from srnas.regularizers import (  # noqa: E402, F401  (fill the registry)
    beta_decay,
    expected_cost,
    l2,
    smooth_activation,
)
