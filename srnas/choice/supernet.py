"""The supernet: a network of mixed operations with alphas and their relaxation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srnas.choice.alive import AliveMasks
from srnas.choice.builder import RelaxedBuilder
from srnas.choice.genotype import Genotype
from srnas.choice.open_choices import OpenChoices
from srnas.choice.relaxations import Relaxation, Softmax
from srnas.choice.space import Space
from srnas.errors import UserError


class Supernet(nn.Module):
    """A network of mixed operations, its alphas, and the relaxation of alphas to weights.

    Args:
        build: Maps a builder to the network: the constructor of the space with its options bound.
        space: Name of the space, for genotypes.
        choose: Builder of the modules that weigh alternatives; each supernet needs its own.
        relaxation: Relaxation of the alphas of competing choices; softmax by default.
        alpha_std: Standard deviation of the normal noise that all alphas start with (DARTS: 1e-3).
            Those of competing choices start at `Relaxation.initial` plus `alpha_init` plus noise.
        alpha_init: Offset of these initial alphas, one number or one for each alternative.

    Attributes:
        network: The network of mixed operations.
        choices: What it leaves open.
        alphas: Logits (N,) by label, one row for each choice that has one. Rows of choices that do
            not compete (inputs, and nodes with edge normalization) are relaxed by softmax.
        alive_masks: Which alternatives are still in the search.

    Raises:
        UserError: The space leaves nothing open, or the length of `alpha_init` is not the number
            of alternatives of a competing choice.
    """

    def __init__(
        self,
        build: Callable[[Any], Space],
        space: str,
        *,
        choose: RelaxedBuilder | None = None,
        relaxation: Relaxation | None = None,
        alpha_std: float = 1e-3,
        alpha_init: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__()
        choose = choose or RelaxedBuilder()
        self.space = space
        self.network = build(choose)
        self.choices: OpenChoices = choose.choices
        if not self.choices:
            raise UserError(
                f"space {space!r} leaves nothing to choose, so there is nothing to search; train "
                "its network: srnas train"
            )
        self.relaxation = relaxation or Softmax()
        self._shared = choose.shared
        self._deltas: Mapping[str, Tensor] = {}
        self._replaced: Mapping[str, Tensor] = {}
        competing = self.choices.competing
        sizes = {label: len(choice.names) for label, choice in competing.items()}
        self.alive_masks = AliveMasks(sizes)
        for label, choice in self.choices.others.items():
            if choice.has_row(choose):
                sizes[label] = len(choice.names)
        self.alphas = nn.ParameterDict()
        for label, size in sizes.items():
            start = alpha_std * torch.randn(size)
            if label in competing:
                start += self.relaxation.initial(size) + _start(alpha_init, size, label)
            self.alphas[label] = nn.Parameter(start)

    def forward(self, x: Tensor) -> Any:
        """Apply the network to x, after relaxing every row of alphas once for this pass."""
        weights = self._relaxed(lambda alpha: self.relaxation(alpha, self.training))
        computed = {
            label: alive for label, alive in self.alive.items() if len(alive) < len(weights[label])
        }
        if self.relaxation.single:
            labels = list(self.choices.competing)
            chosen = torch.stack([weights[label].argmax() for label in labels]).tolist()
            computed = {label: [one] for label, one in zip(labels, chosen, strict=True)}
        for label, delta in self._deltas.items():
            weights[label] = project(weights[label] + delta, self.alive_masks.get_buffer(label))
        weights |= self._replaced
        self._shared.weights, self._shared.computed = weights, computed
        try:
            return self.network(x)
        finally:
            self._shared.weights = {}  # deepcopy refuses tensors that carry a graph

    @contextmanager
    def perturbed(self, deltas: Mapping[str, Tensor]) -> Iterator[None]:
        """Perturb the relaxed weights p within the context: they become `project(p + delta)`.

        Args:
            deltas: delta (N,) by label, for competing choices.
        """
        self._deltas = deltas
        try:
            yield
        finally:
            self._deltas = {}

    @contextmanager
    def replaced(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Use other weights than the relaxed alphas within the context.

        Args:
            weights: Weights (N,) by label, which may require gradients.
        """
        self._replaced = weights
        try:
            yield
        finally:
            self._replaced = {}

    def set_progress(
        self, progress: float, skip_weight: float = 0.0, to_last: float | None = None
    ) -> None:
        """Set everything in a forward pass that is scheduled over the search.

        Args:
            progress: Progress of the search in [0, 1].
            skip_weight: Weight of the auxiliary skip.
            to_last: Number of the epoch as a fraction of that of the last epoch; by default
                `progress`.
        """
        self.relaxation.progress = progress
        self.relaxation.to_last = progress if to_last is None else to_last
        self._shared.skip_weight = skip_weight

    @property
    def min_size(self) -> int:
        """Minimum height and width of an input, in pixels."""
        return self.network.min_size

    @property
    def alive(self) -> dict[str, list[int]]:
        """Indices of the candidates that are still in the search, by label."""
        return self.alive_masks.indices

    def arch_parameters(self) -> list[nn.Parameter]:
        """Return the alphas."""
        return list(self.alphas.parameters())

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return all parameters except the alphas."""
        return list(self.network.parameters())

    def alpha_matrices(self) -> list[Tensor]:
        """Return the logits in the form of the papers: a matrix (E, N) for each group of choices.

        IMDN's four positions form one matrix; in DARTS, normal and reduction cells have one each.
        Choices of different kinds, or with different numbers of alternatives, are in different
        matrices. Inputs and edge weights are not included, since SA and Beta decay regularize
        operations only.
        """
        groups: dict[tuple[str, type, int], list[Tensor]] = {}
        for label, choice in self.choices.competing.items():
            row = self.alphas[label]
            groups.setdefault((choice.place.group, type(choice), len(row)), []).append(row)
        return [torch.stack(rows) for rows in groups.values()]

    def competing_weights(self) -> dict[str, Tensor]:
        """Return the weights (N,) of competing choices by label that a forward pass would use."""
        weights = self._relaxed(lambda alpha: self.relaxation(alpha, self.training))
        return {label: weights[label] for label in self.choices.competing}

    def probabilities(self) -> dict[str, Tensor]:
        """Return weights (N,) that sum to 1 by label, without sampling; they carry gradients."""
        return self._relaxed(self.relaxation.probabilities)

    def strengths(self) -> dict[str, Tensor]:
        """Return the weights by label before normalization, such as sigmoids or clamped alphas."""
        return self._relaxed(self.relaxation.strengths)

    def genotype(
        self, provenance: dict[str, Any] | None = None, threshold: float | None = None
    ) -> Genotype:
        """Return the genotype of the strongest candidates.

        Args:
            provenance: Provenance of the genotype.
            threshold: Minimum probability of an edge, see `strongest_edges`.
        """
        choices = self.choices.strongest(self.strengths(), threshold)
        return Genotype(self.space, self.network.write_choices(choices), provenance or {})

    def _relaxed(self, relax: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply `relax` to the logits still in the search, and softmax to the other rows."""
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


def project(weights: Tensor, alive: Tensor) -> Tensor:
    """Clip weights to [0, 1] and divide them by their sum.

    If all are clipped to 0, the largest becomes 1 (as in SmoothDARTS' released code).

    Args:
        weights: (N,).
        alive: Which candidates are in the search, (N,) bool; the weights of the others are 0.
    """
    clipped = weights.clamp(0, 1) * alive
    best = weights.masked_fill(~alive, -torch.inf).argmax()
    largest = F.one_hot(best, len(weights)).to(weights)
    clipped = torch.where(clipped.sum() > 0, clipped, largest)
    return clipped / clipped.sum()


def _start(alpha_init: float | Sequence[float], size: int, label: str) -> Tensor:
    start = torch.as_tensor(alpha_init, dtype=torch.float32)
    if start.ndim and len(start) != size:
        raise UserError(
            f"alpha_init: {len(start)} numbers, but position {label!r} has {size} candidates"
        )
    return start
