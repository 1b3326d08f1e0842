"""A node of a cell: the sum over its edges, each a searched operation on one earlier output."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from srnas.choice.mixed_op import Mixture

NONE = "none"  # the candidate that cuts an edge


@dataclass(frozen=True)
class EdgeGroup:
    """The open choices of one node: an operation on each of its `count` edges.

    keep: how many edges survive derivation (DARTS: 2), none of them with the candidate
        "none"; None: all of them, "none" included (NAS-Bench-201).
    """

    label: str
    count: int
    keep: int | None

    @property
    def edges(self) -> list[str]:
        """The labels of the edges' positions, by input (from 0)."""
        return [f"{self.label}<-{index}" for index in range(self.count)]


class WeightedEdges(nn.Module):
    """While searching: the sum over all edges' mixtures.

    normalized: each is multiplied by the node's edge weight (PC-DARTS, Eq. 2).
    norm: of the sum's channels, or None.
    """

    def __init__(
        self,
        mixture: Mixture,
        label: str,
        edges: Sequence[nn.Module],
        normalized: bool,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mixture, self.label, self.normalized = mixture, label, normalized
        self.edges = nn.ModuleList(edges)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """As many (B, C, H, W) as there are edges -> (B, C, H', W')."""
        outputs = [edge(x) for edge, x in zip(self.edges, inputs, strict=True)]
        if self.normalized:
            weights = self.mixture.weights[self.label].unbind()
            outputs = [w * y for w, y in zip(weights, outputs, strict=True)]
        return sum(outputs) if self.norm is None else self.norm(sum(outputs))


class ChosenEdges(nn.Module):
    """After derivation: the sum over the chosen edges.

    drop_path_prob: in training, the probability with which an edge is left out for a sample;
        identities stay (Larsson et al., FractalNet, ICLR 2017; as in DARTS' released code).
    """

    def __init__(self, edges: Sequence[nn.Module], indices: Sequence[int]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)
        self.indices = list(indices)
        self.drop_path_prob = 0.0

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """All earlier outputs, (B, C, H, W) each -> (B, C, H', W')."""
        outputs = []
        for edge, index in zip(self.edges, self.indices, strict=True):
            y = edge(inputs[index])
            if self.training and self.drop_path_prob and not isinstance(edge, nn.Identity):
                y = drop_path(y, self.drop_path_prob)
            outputs.append(y)
        return sum(outputs)


def drop_path(x: Tensor, prob: float) -> Tensor:
    """Zero each sample of x (B, C, H, W) with probability `prob` < 1; its mean is kept."""
    kept = 1 - prob
    return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(kept).div_(kept)


def strongest_edges(
    group: EdgeGroup,
    names: Sequence[Sequence[str]],
    probabilities: Sequence[Tensor],
    edge_weights: Tensor | None = None,
    threshold: float | None = None,
) -> list[list[str | int]]:
    """[candidate, input] of the edges that a genotype keeps; of equal ones, the first.

    names, probabilities: of each edge's candidates. All edges are kept (keep None) with their
    most probable candidate, in order. Else each edge stands for its most probable candidate
    besides "none", and the `keep` edges with the largest probabilities (times their
    `edge_weights`) are kept, largest first (DARTS, Sec. 2.4; PC-DARTS, Sec. 3.3).
    threshold: edges with a smaller probability are dropped (FairDARTS), but for the strongest.
    """
    ranked = []
    weights = [1.0] * group.count if edge_weights is None else edge_weights.tolist()
    for index, (candidates, row, weight) in enumerate(
        zip(names, probabilities, weights, strict=True)
    ):
        p = dict(zip(candidates, row.tolist(), strict=True))
        if group.keep is not None:
            p.pop(NONE, None)
        best = max(p, key=p.__getitem__)
        ranked.append((best, index, p[best], weight * p[best]))
    if group.keep is not None:
        ranked = sorted(ranked, key=lambda edge: -edge[3])[: group.keep]
        if threshold is not None:
            ranked = ranked[:1] + [edge for edge in ranked[1:] if edge[2] >= threshold]
    return [[best, index] for best, index, *_ in ranked]
