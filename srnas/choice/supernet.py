"""The supernet: a network of mixtures, its alphas, and the relaxation between them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from srnas.choice.builder import Derived, LinkPosition, Position, Relaxed
from srnas.choice.edges import EdgeGroup, strongest_edges
from srnas.choice.genotype import Genotype
from srnas.choice.mixed_op import MixedOp, PartialMixedOp
from srnas.choice.relaxations import Relaxation, Softmax
from srnas.errors import UserError


class Supernet(nn.Module):
    """network + alphas + relaxation.

    build: `build(choose) -> nn.Module`, the space's constructor with its options bound.
    space: the space's name, for genotypes.
    partial_channels, affine, merge, edge_normalization, auxiliary_skip, node_norm: see `Relaxed`.
    alpha_std: alphas start at alpha_std * N(0, 1) (DARTS: 1e-3), where the relaxation has its
        start, plus alpha_init: a number, or one for each candidate.

    Attributes:
        alphas: label -> (N,) logits, one parameter a position; one a link and, with edge
            normalization, one a group, which are relaxed by softmax.
        positions: label -> Position, the searched operations.
        links: label -> LinkPosition, the searched inputs.
        groups: label -> EdgeGroup, the nodes; each of their edges is one of the positions.
        alive: label of a position -> numbers of the candidates that are still in the game.
    """

    def __init__(
        self,
        build: Callable[[Any], nn.Module],
        space: str,
        relaxation: Relaxation | None = None,
        partial_channels: int = 1,
        affine: bool = False,
        merge: bool = True,
        alpha_std: float = 1e-3,
        edge_normalization: bool = False,
        auxiliary_skip: bool = False,
        alpha_init: float | Sequence[float] = 0.0,
        node_norm: bool = False,
    ) -> None:
        super().__init__()
        choose = Relaxed(
            partial_channels, affine, merge, edge_normalization, auxiliary_skip, node_norm
        )
        self.space = space
        self.network = build(choose)
        self.positions: dict[str, Position] = choose.positions
        self.links: dict[str, LinkPosition] = choose.links
        self.groups: dict[str, EdgeGroup] = choose.groups
        self.relaxation = relaxation or Softmax()
        self._mixture = choose.mixture
        self._build = build
        self._deltas: Mapping[str, Tensor] = {}
        sizes = {label: len(p.candidates) for label, p in self.positions.items()}
        sizes |= {label: link.count for label, link in self.links.items()}
        if edge_normalization:
            sizes |= {g.label: g.count for g in self.groups.values() if g.keep is not None}
        self.alive_masks = nn.Module()  # for the checkpoint
        for label in self.positions:
            self.alive_masks.register_buffer(label, torch.ones(sizes[label], dtype=torch.bool))
        self.register_load_state_dict_post_hook(_read_alive)
        self.alive = {label: list(range(sizes[label])) for label in self.positions}
        self.alphas = nn.ParameterDict()
        for label, size in sizes.items():
            start = alpha_std * torch.randn(size)
            if label in self.positions:
                start += self.relaxation.initial(size) + _start(alpha_init, size, label)
            self.alphas[label] = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        """The network on x, every label's weights relaxed (or sampled) once for this pass."""
        weights = self._relaxed(lambda alpha: self.relaxation(alpha, self.training))
        active = {k: v for k, v in self.alive.items() if len(v) < len(self.alphas[k])}
        if self.relaxation.single:
            chosen = torch.stack([weights[label].argmax() for label in self.positions]).tolist()
            active = {label: [one] for label, one in zip(self.positions, chosen, strict=True)}
        for label, delta in self._deltas.items():
            alive = self.alive_masks.get_buffer(label)
            moved = (weights[label] + delta).clamp(0, 1) * alive
            total = moved.sum()
            # Where all were clipped to 0 there is nothing to divide: these stay as they are.
            kept = torch.where(total > 0, moved, weights[label])
            weights[label] = kept / torch.where(total > 0, total, torch.ones_like(total))
        self._mixture.weights, self._mixture.active = weights, active
        try:
            return self.network(x)
        finally:
            self._mixture.weights = {}  # deepcopy refuses tensors that carry a graph

    @contextmanager
    def perturbed(self, deltas: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, relaxed weights p are p + delta, clipped to [0, 1], divided by their sum."""
        self._deltas = deltas
        try:
            yield
        finally:
            self._deltas = {}

    def set_progress(self, progress: float, auxiliary: float = 0.0) -> None:
        """How far the search is, in [0, 1], and the auxiliary skip's weight."""
        self.relaxation.progress = progress
        self._mixture.auxiliary = auxiliary

    @torch.no_grad()
    def prune(self) -> None:
        """Drop, for good, the candidates whose logit fell to 0, but for a row's last; dropped
        ones keep the logit 0."""
        values = torch.cat([self.alphas[label] for label in self.positions]).tolist()
        for label, alive in self.alive.items():
            row, values = values[: len(self.alphas[label])], values[len(self.alphas[label]) :]
            kept = [i for i in alive if row[i] > 0] or [max(alive, key=row.__getitem__)]
            self._keep(label, kept)

    @torch.no_grad()
    def shrink(self, keep: int) -> None:
        """Keep the `keep` strongest candidates of each position (DrNAS)."""
        p = self.probabilities()
        for label, alive in self.alive.items():
            row = p[label].tolist()
            self._keep(label, sorted(sorted(alive, key=lambda i, row=row: -row[i])[:keep]))

    def _keep(self, label: str, kept: list[int]) -> None:
        if len(kept) < len(self.alphas[label]):
            dead = [i for i in range(len(self.alphas[label])) if i not in kept]
            self.alphas[label][dead] = 0
        self.alive[label] = kept
        mask = self.alive_masks.get_buffer(label)
        mask.zero_()
        mask[kept] = True

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
        return self._relaxed(self.relaxation.probabilities)

    def strengths(self) -> dict[str, Tensor]:
        """The same before they are made to sum to 1: sigmoids, clamped alphas."""
        return self._relaxed(self.relaxation.strengths)

    def genotype(
        self, provenance: dict[str, Any] | None = None, threshold: float | None = None
    ) -> Genotype:
        """The strongest candidate of every position; of equal ones, the first.

        For a link the numbers (from 1) of its strongest inputs, strongest first; for a node
        what `strongest_edges` says, with its `threshold`.
        """
        choices = self._choices(self.strengths(), threshold)
        write = getattr(self.network, "write_choices", dict)
        return Genotype(self.space, write(choices), provenance or {})

    def chosen_operations(self) -> dict[str, str]:
        """label -> candidate of the operations that the genotype has now, edges by their label."""
        return self._operations(self._choices(self.strengths(), None))

    @torch.no_grad()
    def project(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The genotype that `values` (label -> (N,) weights) stand for, as weights: 1 for a
        chosen candidate, 0 for the others; for a link's chosen inputs 1 / how many.

        A node's row of edge weights, and a link that keeps all its inputs, stay as they are.
        """
        choices = self._choices(values, None)
        target = {label: torch.zeros_like(values[label]) for label in self.positions}
        for label, name in self._operations(choices).items():
            target[label][list(self.positions[label].candidates).index(name)] = 1
        for label, link in self.links.items():
            if link.keep < link.count:
                target[label] = torch.zeros_like(values[label])
                target[label][[number - 1 for number in choices[label]]] = 1 / link.keep
        return {label: target.get(label, row.detach().clone()) for label, row in values.items()}

    def _choices(self, p: Mapping[str, Tensor], threshold: float | None) -> dict[str, Any]:
        """label -> choice, by label (not yet in the form of the space's genotypes)."""
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
        return choices

    def _operations(self, choices: Mapping[str, Any]) -> dict[str, str]:
        chosen = {label: name for label, name in choices.items() if label in self.positions}
        for label, group in self.groups.items():
            chosen |= {group.edges[index]: name for name, index in choices[label]}
        return chosen

    def _relaxed(self, relax: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """`relax` on the living logits of each position, 0 for the dead; softmax elsewhere."""
        weights = {}
        for label, alpha in self.alphas.items():
            alive = self.alive.get(label)
            if alive is None:
                weights[label] = torch.softmax(alpha, dim=-1)
            elif len(alive) == len(alpha):
                weights[label] = relax(alpha)
            else:
                index = torch.tensor(alive, device=alpha.device)
                weights[label] = torch.zeros_like(alpha).index_copy(0, index, relax(alpha[index]))
        return weights

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


def _read_alive(supernet: Supernet, *_: Any) -> None:
    masks = dict(supernet.alive_masks.named_buffers())
    supernet.alive = {label: mask.nonzero().flatten().tolist() for label, mask in masks.items()}


def _start(alpha_init: float | Sequence[float], size: int, label: str) -> Tensor:
    start = torch.as_tensor(alpha_init, dtype=torch.float32)
    if start.ndim and len(start) != size:
        raise UserError(
            f"alpha_init: {len(start)} numbers, but position {label!r} has {size} candidates"
        )
    return start
