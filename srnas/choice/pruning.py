"""Removal of candidates from the search: pruning (CRB), and shrinking to the strongest (DrNAS)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from srnas.choice.supernet import Supernet


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


@torch.no_grad()
def prune(supernet: "Supernet") -> None:
    """Drop every candidate whose logit fell to 0 or below (CRB), and set its logit to 0.

    If this applies to all remaining candidates of a position, the one with the largest logit stays.
    """
    labels = list(supernet.alive)
    values = torch.cat([supernet.alphas[label] for label in labels]).tolist()
    for label in labels:
        size = len(supernet.alphas[label])
        row, values = values[:size], values[size:]
        alive = supernet.alive[label]
        kept = [i for i in alive if row[i] > 0] or [max(alive, key=row.__getitem__)]
        _keep(supernet, label, kept)


@torch.no_grad()
def shrink(supernet: "Supernet", keep: int) -> None:
    """Keep the strongest candidates of each position among those still in the search (DrNAS).

    Args:
        supernet: The supernet; the logits of dropped candidates are set to 0.
        keep: Number of candidates that stay.
    """
    p = supernet.probabilities()
    for label, alive in list(supernet.alive.items()):
        row = p[label].tolist()
        strongest = sorted(alive, key=lambda i, row=row: -row[i])[:keep]  # type: ignore[misc]
        _keep(supernet, label, sorted(strongest))


def _keep(supernet: "Supernet", label: str, kept: list[int]) -> None:
    size = len(supernet.alphas[label])
    if len(kept) < size:
        supernet.alphas[label][[i for i in range(size) if i not in kept]] = 0
    supernet.alive_masks.keep(label, kept)


def _read_indices(masks: AliveMasks, *_: Any) -> None:
    masks.indices = {
        label: mask.nonzero().flatten().tolist() for label, mask in masks.named_buffers()
    }
    for label, indices in masks.indices.items():
        if not indices:
            raise ValueError(f"no candidate is left at {label}")
