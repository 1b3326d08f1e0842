"""Update rules: at each step, whether the alphas move, and on which batches."""

from srnas.registry import Registry

UPDATES = Registry("update rule")

from srnas.updates import (  # noqa: E402, F401  (fill the registry)
    alternate,
    every_n,
    fimt,
    random,
    single_level,
    unrolled,
)
