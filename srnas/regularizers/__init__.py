"""Terms added to the loss of the alphas: `term(supernet) -> scalar`, one a file.

A term that remembers something from step to step has `alphas_moved(supernet)`, called after each
alpha step, and `state_dict` and `load_state_dict` for the checkpoint.
"""

from srnas.registry import Registry

REGULARIZERS = Registry("regularizer")

from srnas.regularizers import (  # noqa: E402, F401  (fill the registry)
    admm,
    beta_decay,
    dirichlet_kl,
    expected_cost,
    l2,
    proximity,
    smooth_activation,
    zero_one,
)
