"""Helpers of the spaces: selection of candidates, and the weight files of IMDN and DLSR."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from srnas.choice import Candidates
from srnas.errors import UserError, did_you_mean, short


def named_candidates(family: Candidates, names: Iterable[str]) -> Candidates:
    """Select candidates of a family, in the order of the names.

    Raises:
        UserError: The family has no candidate of one of the names.
    """
    for name in names:
        if name not in family:
            raise UserError(f"no candidate is named {short(name)}; {did_you_mean(name, family)}")
    return {name: family[name] for name in names}


def published_width(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return {"num_feat": channels} of the first layer, named by the authors or by us, or {}."""
    for key, tensor in state.items():
        if key.removeprefix("module.") in ("fea_conv.bias", "head.bias"):
            return {"num_feat": len(tensor)}
    return {}


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Return whether the parameter names are those of the authors."""
    return any(key.removeprefix("module.") == "fea_conv.bias" for key in state)
