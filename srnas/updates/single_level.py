"""Weights and alphas together, from gradients at one point (Single-DARTS)."""

from typing import Literal

from srnas.updates import UPDATES
from srnas.updates.rule import Steps, UpdateRule


@UPDATES.register("single_level")
class SingleLevel(UpdateRule):
    """(w, alpha) <- (w, alpha) - (lr_w dL/dw, lr_alpha dL/dalpha).

    data: "single": both gradients from one pass over one batch of all images;
        "same_subset": from two batches of all images; "bilevel": the alphas' from a batch of
        their own images. (The three rows of the paper's ablation.)
    """

    def __init__(self, *, data: Literal["single", "same_subset", "bilevel"] = "single") -> None:
        self.data = data
        self.pools_images = data != "bilevel"

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        batch = next(search.train)
        if not alpha_moves:
            search.weight_step(batch)
        elif self.data == "single":
            search.joint_step(batch)
        else:
            source = search.train if self.data == "same_subset" else search.alpha
            search.joint_step(batch, next(source))
