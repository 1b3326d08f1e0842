"""Removal of candidates from the search: pruning (CRB), and shrinking to the strongest (DrNAS)."""

import torch

from srnas.choice.supernet import Supernet


@torch.no_grad()
def prune(supernet: Supernet) -> None:
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
def shrink(supernet: Supernet, keep: int) -> None:
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


def _keep(supernet: Supernet, label: str, kept: list[int]) -> None:
    size = len(supernet.alphas[label])
    if len(kept) < size:
        supernet.alphas[label][[i for i in range(size) if i not in kept]] = 0
    supernet.alive_masks.keep(label, kept)
