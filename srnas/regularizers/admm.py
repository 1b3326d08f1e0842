"""The alternating direction method of multipliers on the alphas (DARTS-PRIME)."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS
from srnas.regularizers.proximity import distance

Rows = dict[str, Tensor]


@REGULARIZERS.register("admm")
class ADMM:
    """|p - Z + U| / 2: p the relaxed weights, Z a genotype, U the scaled dual variable. After
    every `every` alpha steps Z <- P(p + U) and U <- discount U + p - Z (`Supernet.project`).

    norm: "l2", as in the released code (the textbook's is "l2sq"). discount: of U; the paper
    gives no number, its code applies none (1). Z starts at p, U at 0. The paper's weight is 0.1.
    (The released code updates U with raw alphas and every 9 steps; here both are as in the text.)
    """

    def __init__(
        self,
        *,
        every: Annotated[int, Ge(1)] = 10,
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
        """Count an alpha step; refresh Z and U when it is time."""
        self.count += 1
        if self.count % self.every == 0:
            p = supernet.strengths()
            self._start(p)
            self.z = supernet.project({k: p[k] + self.u[k] for k in p})
            self.u = {k: self.discount * self.u[k] + p[k] - self.z[k] for k in p}

    def state_dict(self) -> dict[str, Any]:
        """Z, U and the count."""
        return {"z": self.z, "u": self.u, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.z, self.u, self.count = state["z"], state["u"], state["count"]

    def _start(self, p: Rows) -> None:
        if not self.z:
            self.z = {label: row.detach().clone() for label, row in p.items()}
            self.u = {label: torch.zeros_like(row) for label, row in self.z.items()}
        self.z, self.u = (
            {label: rows[label].to(p[label]) for label in p} for rows in (self.z, self.u)
        )
