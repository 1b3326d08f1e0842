"""A node of a cell: the sum over its edges, each a searched operation on one earlier output."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from srnas.choice.mixed_op import SharedWeights, add_all
from srnas.distributed import draw_samples
from srnas.fast import fused_edges


class WeightedEdges(nn.Module):
    """A node in the supernet: the sum over the mixed operations on all its edges.

    Args:
        shared: State of the supernet's forward pass, which holds the edge weights.
        label: Label of the node.
        edges: The mixed operation of each edge.
        normalized: Whether each edge is multiplied by an edge weight of the node (PC-DARTS, Eq. 2).
        norm: Normalization of the sum, (B, C, H', W'); None for none.
    """

    def __init__(
        self,
        shared: SharedWeights,
        label: str,
        edges: Sequence[nn.Module],
        *,
        normalized: bool,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.shared, self.label, self.normalized = shared, label, normalized
        self.edges = nn.ModuleList(edges)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Map all earlier outputs, (B, C, H, W) each, to the sum, (B, C, H', W')."""
        earlier = inputs[: len(self.edges)]
        return self.total([edge(x) for edge, x in zip(self.edges, earlier, strict=True)])

    def total(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the node's sum (B, C, H', W') of the outputs of its edges."""
        if self.normalized:
            weights = self.shared.weights[self.label].unbind()
            outputs = [w * y for w, y in zip(weights, outputs, strict=True)]
        total = add_all(outputs)
        return total if self.norm is None else self.norm(total)


def run_nodes(nodes: Iterable[nn.Module], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run the nodes of a cell, x_j = sum over i < j of o_(i,j)(x_i) (DARTS, Eq. 1).

    Args:
        nodes: What `Builder.edges` returned, in order.
        inputs: Inputs of the cell, (B, C, H, W) each.

    Returns:
        The output of each node.
    """
    nodes, maps = list(nodes), list(inputs)
    weighted = [(node.edges, node.total) for node in nodes if isinstance(node, WeightedEdges)]
    if len(weighted) == len(nodes) and (outputs := fused_edges.run_nodes(weighted, inputs)):
        return outputs
    for node in nodes:
        maps.append(node(maps))
    return maps[len(inputs) :]


class ChosenEdges(nn.Module):
    """A node of a derived network: the sum over the chosen edges.

    Args:
        edges: The operation of each edge.
        indices: The number of the input of each edge.

    Attributes:
        drop_path_prob: Probability with which training drops an edge for a sample. Identities are
            never dropped (Larsson et al., FractalNet, ICLR 2017; as in DARTS' released code).
    """

    def __init__(self, edges: Sequence[nn.Module], indices: Sequence[int]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)
        self.indices = list(indices)
        self.drop_path_prob = 0.0

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Map all earlier outputs, (B, C, H, W) each, to the sum, (B, C, H', W')."""
        outputs = []
        for edge, index in zip(self.edges, self.indices, strict=True):
            y = edge(inputs[index])
            if self.training and self.drop_path_prob and not isinstance(edge, nn.Identity):
                y = drop_path(y, self.drop_path_prob)
            outputs.append(y)
        return add_all(outputs)


def drop_path(x: Tensor, prob: float) -> Tensor:
    """Zero each sample with probability `prob`, and scale the others to keep the expected value.

    Args:
        x: (B, C, H, W).
        prob: Probability, below 1.
    """
    kept = 1 - prob
    factors = draw_samples(x.new_empty(len(x), 1, 1, 1), lambda t: t.bernoulli_(kept))
    return x * factors.div_(kept)
