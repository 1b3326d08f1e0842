"""The supernet: a network of mixtures, its alphas, and the relaxation between them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice.builder import Derived, LinkPosition, Position, Relaxed
from srnas.choice.edges import EdgeGroup, strongest_edges
from srnas.choice.genotype import Genotype
from srnas.choice.mixed_op import MixedOp, PartialMixedOp
from srnas.choice.relaxations import Softmax


class Supernet(nn.Module):
    """network + alphas + relaxation.

    build: `build(choose) -> nn.Module`, the space's constructor with its options bound.
    space: the space's name, for genotypes.
    partial_channels, affine, merge, edge_normalization: see `Relaxed`.
    alpha_std: alphas start at alpha_std * N(0, 1) (DARTS: 1e-3).

    Attributes:
        alphas: label -> (N,) logits, one parameter a position; with edge normalization one
            more a group, which is relaxed by softmax.
        positions: label -> Position, the searched operations.
        links: label -> LinkPosition, the searched inputs.
        groups: label -> EdgeGroup, the nodes; each of their edges is one of the positions.
    """

    def __init__(
        self,
        build: Callable[[Any], nn.Module],
        space: str,
        relaxation: Any = None,
        partial_channels: int = 1,
        affine: bool = False,
        merge: bool = True,
        alpha_std: float = 1e-3,
        edge_normalization: bool = False,
    ) -> None:
        super().__init__()
        choose = Relaxed(partial_channels, affine, merge, edge_normalization)
        self.space = space
        self.network = build(choose)
        self.positions: dict[str, Position] = choose.positions
        self.links: dict[str, LinkPosition] = choose.links
        self.groups: dict[str, EdgeGroup] = choose.groups
        self.relaxation = relaxation or Softmax()
        self._mixture = choose.mixture
        self._build = build
        sizes = {label: len(p.candidates) for label, p in self.positions.items()}
        sizes |= {label: link.count for label, link in self.links.items()}
        if edge_normalization:
            sizes |= {g.label: g.count for g in self.groups.values() if g.keep is not None}
        self.alphas = nn.ParameterDict(
            {label: nn.Parameter(alpha_std * torch.randn(size)) for label, size in sizes.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """The network on x, every label's weights relaxed (or sampled) once for this pass."""
        self._mixture.weights = {
            label: self._relaxation_of(label)(alpha) for label, alpha in self.alphas.items()
        }
        try:
            return self.network(x)
        finally:
            self._mixture.weights = {}  # deepcopy refuses tensors that carry a graph

    def arch_parameters(self) -> list[nn.Parameter]:
        """The alphas."""
        return list(self.alphas.parameters())

    def weight_parameters(self) -> list[nn.Parameter]:
        """All parameters but the alphas."""
        return list(self.network.parameters())

    def alpha_matrices(self) -> list[Tensor]:
        """The logits as the papers count them: one (E, N) matrix a group of positions.

        A label's group is what stands before its last "/"; IMDN's four labels have none and
        make one matrix, a DARTS cell's "normal/..." and "reduce/..." make two. Links and edge
        weights have no part in them: SA and Beta regularize operations only.
        """
        groups: dict[str, list[Tensor]] = {}
        for label in self.positions:
            groups.setdefault(label.rpartition("/")[0], []).append(self.alphas[label])
        return [torch.stack(rows) for rows in groups.values()]

    def probabilities(self) -> dict[str, Tensor]:
        """label -> (N,) weights that sum to 1, without sampling; they carry gradients."""
        return {
            label: self._relaxation_of(label).probabilities(alpha)
            for label, alpha in self.alphas.items()
        }

    def genotype(
        self, provenance: dict[str, Any] | None = None, threshold: float | None = None
    ) -> Genotype:
        """The strongest candidate of every position; of equal ones, the first.

        For a link the numbers (from 1) of its strongest inputs, strongest first; for a node
        what `strongest_edges` says, with its `threshold`.
        """
        p = self.probabilities()
        edges = {edge for group in self.groups.values() for edge in group.edges}
        choices: dict[str, Any] = {
            label: list(position.candidates)[int(p[label].argmax())]
            for label, position in self.positions.items()
            if label not in edges
        }
        for label, link in self.links.items():
            ranked = p[label].sort(descending=True, stable=True).indices
            choices[label] = [int(index) + 1 for index in ranked[: link.keep]]
        for label, group in self.groups.items():
            names = [list(self.positions[edge].candidates) for edge in group.edges]
            rows = [p[edge] for edge in group.edges]
            choices[label] = strongest_edges(group, names, rows, p.get(label), threshold)
        write = getattr(self.network, "write_choices", dict)
        return Genotype(self.space, write(choices), provenance or {})

    def derive(self, genotype: Genotype | None = None) -> nn.Module:
        """The derived network of `genotype` (default: the current one) with this net's weights.

        BatchNorm without scale and shift becomes one with scale 1 and shift 0. Only without
        partial channels and links, where the weights have the shapes of the derived network's,
        and without nodes that drop edges, where the function would be another (ValueError).
        """
        if self.links:
            raise ValueError("links: what follows them is wider than in the derived network")
        if any(group.keep is not None for group in self.groups.values()):
            raise ValueError("edges: the derived network lacks some of those that are summed here")
        genotype = (genotype or self.genotype()).flat(self.network)
        derived = self._build(Derived(genotype))
        kept = dict(self._kept_tensors(genotype))
        missing, unexpected = derived.load_state_dict(kept, strict=False)
        assert not unexpected, unexpected
        affine = {
            f"{name}.{suffix}"
            for name, module in derived.named_modules()
            if isinstance(module, nn.BatchNorm2d)
            for suffix in ("weight", "bias")
        }
        assert set(missing) <= affine, missing
        return derived.train(self.training)

    def _relaxation_of(self, label: str) -> Any:
        return Softmax() if label in self.groups else self.relaxation

    def _kept_tensors(self, genotype: Genotype) -> Iterator[tuple[str, Tensor]]:
        chosen = dict(genotype.choices)
        for label, group in self.groups.items():
            names = [name for name, _ in chosen.pop(label)]
            chosen |= zip(group.edges, names, strict=True)
        mixed = {
            name: module
            for name, module in self.network.named_modules()
            if isinstance(module, MixedOp | PartialMixedOp)
        }
        for key, tensor in self.network.state_dict().items():
            owner = next((name for name in mixed if key.startswith(f"{name}.")), None)
            if owner is None:
                yield key, tensor
                continue
            if not isinstance(mixed[owner], MixedOp):
                raise ValueError("partial_channels: candidates are smaller than in the derived net")
            prefix = f"{owner}.candidates.{chosen[mixed[owner].label]}."
            if key.startswith(prefix):
                yield f"{owner}.{key.removeprefix(prefix)}", tensor
