"""The FLOPs penalty: the expected cost of the mixture (SA-DARTS, Eq. 18); likewise of latency."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from srnas.choice import Choice, Supernet
from srnas.components import Channels
from srnas.errors import UserError, did_you_mean
from srnas.latency.table import read_latency_table
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("expected_cost")
class ExpectedCost(Regularizer):
    """Sum over positions and candidates of p * c, with costs c that are scaled at each position.

    BatchNorm and activations cost nothing, so a candidate costs as much as its BatchNorm variant. A
    position whose candidates all cost nothing (pooling, skip connection) adds nothing.

    Args:
        cost: "nominal" counts the MACs of a convolution with as many output as input channels (as
            in the paper: 64 at IMDN's first position, 48 at the others). "true_io" counts them with
            the actual numbers of input and output channels. The resolution cancels in the scaling.
            "latency" takes measured times from `table`.
        channels: With "nominal", the number of channels to count with at every position. DLSR's
            parameter penalty is the expected cost at 50, since its convolutions have no bias.
        norm: Divisor of the costs at a position: their "sum" (as in DLSR), their "max", or the cost
            of the "baseline" candidate. With "latency" it is the "network": costs are shares of the
            time of the table's base network, so that positions count as much as they take.
        table: File of `srnas latency table`, with "latency".
        baseline: Name of that candidate, whose cost must not be 0.
        target: Cost that the network is to have: MACs per pixel of the searched operations, or
            milliseconds with "latency". The term is then by how much the expected cost exceeds it,
            as a share of it, and 0 below it; `norm` has no effect.
        detach: Whether to make the term a constant without a gradient, as DLSR's released code does
            by mistake; for exact replication only.

    Raises:
        UserError: "latency" without a table or a table without "latency", a norm that does not go
            with it, or an invalid table.
    """

    def __init__(
        self,
        *,
        cost: Literal["nominal", "true_io", "latency"] = "nominal",
        channels: Channels | None = None,
        norm: Literal["sum", "max", "baseline", "network"] | None = None,
        table: Path | None = None,
        baseline: str = "conv_3x3",
        target: Annotated[float, Gt(0)] | None = None,
        detach: bool = False,
    ) -> None:
        self.cost = cost
        self.channels = channels
        timed = cost == "latency"
        self.norm = norm or ("network" if timed else "sum")
        if timed != (table is not None):
            raise UserError("expected_cost: cost latency and table: FILE go together")
        if timed != (self.norm == "network"):
            raise UserError("expected_cost: norm network and cost latency go together")
        self.table = read_latency_table(table) if table else None
        self.baseline, self.target = baseline, target
        self.detach = detach

    def __call__(self, supernet: Supernet) -> Tensor:
        probabilities = supernet.probabilities()
        costs = [
            (probabilities[label] * self.costs(choice).to(probabilities[label])).sum()
            for label, choice in supernet.choices.competing.items()
        ]
        total = torch.stack(costs).sum()
        if self.target:
            if self.table:  # of shares of the base network's time
                total = self.table.base_ms * (1 + total - len(costs))
            total = (total / self.target - 1).clamp(min=0)
        return total.detach() if self.detach else total

    def costs(self, choice: Choice) -> Tensor:
        """Return the scaled costs (N,) of the alternatives of a choice, float64.

        Raises:
            UserError: The choice has no alternative named `baseline`, or is not in the table.
        """
        if self.table:
            return torch.tensor(self.table.costs(choice), dtype=torch.float64)
        channels = None
        if self.cost == "nominal" and choice.shape:
            channels = self.channels or choice.shape[0]
        macs = torch.tensor(choice.costs(channels), dtype=torch.float64)
        if self.target:
            return macs
        if self.norm == "sum":
            return macs / macs.sum().clamp(min=1)
        if self.norm == "max":
            return macs / macs.max().clamp(min=1)
        if self.baseline not in choice.names:
            raise UserError(
                f"expected_cost: baseline {self.baseline!r} is not a candidate; "
                f"{did_you_mean(self.baseline, choice.names)}"
            )
        return macs / macs[choice.names.index(self.baseline)]
