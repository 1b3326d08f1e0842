"""The alternating direction method of multipliers on the alphas (DARTS-PRIME)."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from srnas.choice import Supernet
from srnas.parts import PositiveInt
from srnas.regularizers import REGULARIZERS, Regularizer
from srnas.regularizers.proximity import distance

Rows = dict[str, Tensor]


@REGULARIZERS.register("admm")
class ADMM(Regularizer):
    """|p - Z + U| / 2 with the relaxed weights p, a genotype Z and the scaled dual variable U.

    The norms are summed over alpha matrices and links. After every `every` alpha steps
    Z <- P(p + U) and U <- discount * U + p - Z, where P projects onto the genotypes
    (`OpenChoices.project`). Z starts at p, U at 0. The paper uses the weight 0.1.

    This is the text of the paper. Its released code (`src/model_admm_hard_statebn.py`) differs: Z
    starts at the raw alphas; P projects the activation of alpha + U, not p + U; U grows by
    alpha - Z with the raw alphas; the updates come every 9 steps; and the discount of its command
    line is never passed on, so that U is not discounted.

    Args:
        every: Number of alpha steps between updates of Z and U.
        discount: Factor of U; the paper gives no value, the released code runs with 1.
        norm: "l2", as in the released code, or its square "l2sq", as in textbooks.
    """

    stateful = True

    def __init__(
        self,
        *,
        every: PositiveInt = 10,
        discount: Annotated[float, Interval(ge=0, le=1)] = 0.8,
        norm: Literal["l2", "l2sq"] = "l2",
    ) -> None:
        self.every, self.discount, self.norm = every, discount, norm
        self.z: Rows = {}
        self.u: Rows = {}
        self.count = 0

    def __call__(self, supernet: Supernet) -> Tensor:
        p = supernet.strengths()
        self._start(p)
        return distance(supernet, {k: p[k] - self.z[k] + self.u[k] for k in p}, self.norm) / 2

    @torch.no_grad()
    def alphas_moved(self, supernet: Supernet) -> None:
        """Count the alpha step, and update Z and U every `every` steps."""
        self.count += 1
        if self.count % self.every == 0:
            p = supernet.strengths()
            self._start(p)
            self.z = supernet.choices.project({k: p[k] + self.u[k] for k in p})
            self.u = {k: self.discount * self.u[k] + p[k] - self.z[k] for k in p}

    def state_dict(self) -> dict[str, Any]:
        """Return Z, U and the number of alpha steps."""
        return {"z": self.z, "u": self.u, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.z, self.u, self.count = state["z"], state["u"], state["count"]

    def _start(self, p: Rows) -> None:
        if not self.z:
            self.z = {label: row.detach().clone() for label, row in p.items()}
            self.u = {label: torch.zeros_like(row) for label, row in self.z.items()}
        self.z, self.u = (
            {label: rows[label].to(p[label]) for label in p} for rows in (self.z, self.u)
        )
