"""Single-level updates: weights and alphas move together (Single-DARTS)."""

from typing import ClassVar, Literal

from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule


@UPDATES.register("single_level")
class SingleLevel(UpdateRule):
    """Move weights and alphas together, with gradients at the same point.

    (w, alpha) <- (w, alpha) - (lr_w dL/dw, lr_alpha dL/dalpha), each with its own optimizer.

    Args:
        data: Batches of the two gradients, as in the three rows of the paper's ablation: "single"
            takes both from one pass over a batch of all images, "same_subset" takes them from two
            batches of all images, and "bilevel" takes that of the alphas from a batch of their own
            images.
    """

    joint: ClassVar[bool] = True

    def __init__(self, *, data: Literal["single", "same_subset", "bilevel"] = "single") -> None:
        self.data = data
        self.pools_images = data != "bilevel"

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        batch = next(stepper.train_batches)
        if not alpha_moves:
            stepper.weight_step(batch)
        elif self.data == "single":
            stepper.joint_step(batch)
        else:
            source = stepper.train_batches if self.data == "same_subset" else stepper.alpha_batches
            stepper.joint_step(batch, next(source))
