"""Update rules: when the alphas move, and on which batches."""

from srnas.registry import Registry

UPDATES = Registry("update rule")

from srnas.updates import alternate  # noqa: E402, F401  (fills the registry)
