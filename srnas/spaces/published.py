"""What the weight files of IMDN and DLSR have in common."""

from collections.abc import Mapping

from torch import Tensor


def published_width(state: Mapping[str, Tensor]) -> dict[str, int]:
    """{"num_feat": channels} by the first layer, the authors' or ours; {} if there is neither."""
    for key, tensor in state.items():
        if key.removeprefix("module.") in ("fea_conv.bias", "head.bias"):
            return {"num_feat": len(tensor)}
    return {}


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether the key names are the authors'."""
    return any(key.removeprefix("module.") == "fea_conv.bias" for key in state)
