"""What the authors' weight files of IMDN and DLSR have in common."""

from collections.abc import Mapping

from torch import Tensor


def published_width(state: Mapping[str, Tensor]) -> dict[str, int]:
    """{"num_feat": channels} by the authors' first layer; {} if the file is not of theirs."""
    for key, tensor in state.items():
        if key.removeprefix("module.") == "fea_conv.bias":
            return {"num_feat": len(tensor)}
    return {}
