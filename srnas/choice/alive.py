"""Which candidates are still in the search."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class AliveMasks(nn.Module):
    """Record which candidates of each position are still in the search.

    The masks are buffers, so they are saved with the supernet.

    Args:
        sizes: Number of candidates by label.

    Attributes:
        indices: Indices of the candidates that are still in the search, in order, by label.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        for label, size in sizes.items():
            self.register_buffer(label, torch.ones(size, dtype=torch.bool))
        self.indices = {label: list(range(size)) for label, size in sizes.items()}
        self.register_load_state_dict_post_hook(_read_indices)  # type: ignore[no-untyped-call]

    def keep(self, label: str, kept: list[int]) -> None:
        """Keep only the candidates with the indices `kept` at one position."""
        self.indices[label] = kept
        mask = self.get_buffer(label)
        mask.zero_()
        mask[kept] = True


def _read_indices(masks: AliveMasks, *_: Any) -> None:
    masks.indices = {
        label: mask.nonzero().flatten().tolist() for label, mask in masks.named_buffers()
    }
    for label, indices in masks.indices.items():
        if not indices:
            raise ValueError(f"no candidate is left at {label}")
