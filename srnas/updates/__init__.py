"""Update rules: at each step, whether the alphas move, and on which batches."""

from srnas.components import Registry
from srnas.updates.rule import UpdateRule

__all__ = ["UPDATES", "UpdateRule"]

UPDATES: Registry[UpdateRule] = Registry(
    "update rule", packages=("srnas.updates",), base=UpdateRule
)
