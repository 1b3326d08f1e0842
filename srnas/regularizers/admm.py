"""The alternating direction method of multipliers on the alphas (DARTS-PRIME)."""

from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from srnas.choice import Supernet
from srnas.components import PositiveInt
from srnas.errors import UserError
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
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: Z and U are not rows of the same positions, or the count is none.
        """
        z, u, count = dict(state["z"]), dict(state["u"]), state["count"]
        fits = z.keys() == u.keys() and all(
            torch.is_tensor(row) and row.is_floating_point() and row.ndim == 1
            for row in (*z.values(), *u.values())
        )
        if not fits or type(count) is not int or count < 0:
            raise ValueError("Z, U or the count of ADMM is broken")
        self.z, self.u, self.count = z, u, count

    def _start(self, p: Rows) -> None:
        if not self.z:
            self.z = {label: row.detach().clone() for label, row in p.items()}
            self.u = {label: torch.zeros_like(row) for label, row in self.z.items()}
        for label, row in p.items():
            rows = (self.z.get(label), self.u.get(label))
            if any(one is None or one.shape != row.shape for one in rows):
                raise UserError(f"the checkpoint's Z or U of ADMM does not fit position {label}")
        self.z, self.u = (
            {label: rows[label].to(p[label]) for label in p} for rows in (self.z, self.u)
        )
