"""Second-order DARTS: the gradient of the alphas through one step of the weights."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from srnas.choice.mixed_op import add_all
from srnas.distributed import averaged
from srnas.updates import UPDATES
from srnas.updates.rule import Stepper, UpdateRule

REACH = 0.01  # length of the finite-difference step


@UPDATES.register("unrolled")
class Unrolled(UpdateRule):
    """Alpha steps along g = dL_val(w'(alpha), alpha)/dalpha, with w' after one virtual weight step.

    w' = w - lr (momentum m + dL_train/dw + wd w) (DARTS, Eq. 7). A real weight step on the same
    training batch follows.

    m is the momentum buffer of an SGD weight optimizer. With Adam, the virtual step is one of SGD
    with Adam's learning rate. Weights and running statistics are restored bit for bit. In a
    distributed run the gradients of the virtual step are averaged, so that all processes take the
    same one.

    Args:
        gradient: "finite_difference" computes the product of the second derivative and
            v = dL_val/dw' from two passes at w +- 0.01 v / |v| (DARTS, Eq. 8, and its released
            code). "exact" differentiates through the step, which takes twice the memory.
    """

    def __init__(
        self, *, gradient: Literal["finite_difference", "exact"] = "finite_difference"
    ) -> None:
        self.differentiates_twice = gradient == "exact"
        self.through = _exact if self.differentiates_twice else _finite_difference

    def __call__(self, stepper: Stepper, alpha_moves: bool) -> None:
        train = next(stepper.train_batches)
        if alpha_moves:
            buffers = [b.clone() for b in stepper.supernet.buffers()]
            gradients = self.through(stepper, train, next(stepper.alpha_batches))
            with torch.no_grad():
                for buffer, kept in zip(stepper.supernet.buffers(), buffers, strict=True):
                    buffer.copy_(kept)
            stepper.alpha_step_along(gradients)
        stepper.weight_step(train)


def _finite_difference(stepper: Stepper, train: Any, val: Any) -> list[Tensor]:
    supernet, loss = stepper.supernet, stepper.task.loss
    weights, alphas = supernet.weight_parameters(), supernet.arch_parameters()
    start = [w.detach().clone() for w in weights]
    lr = stepper.weight_optimizer.param_groups[0]["lr"]

    def at(shift: float, direction: list[Tensor]) -> None:
        with torch.no_grad():
            for w, w0, d in zip(weights, start, direction, strict=True):
                w.copy_(w0 + shift * d)

    def gradient(batch: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        value = loss(supernet, batch)
        return averaged(torch.autograd.grad(value, inputs, materialize_grads=True))

    try:
        at(-lr, _direction(stepper, gradient(train, weights)))
        both = gradient(val, [*alphas, *weights])
        direct, v = both[: len(alphas)], both[len(alphas) :]
        norm = torch.sqrt(add_all([t.square().sum() for t in v])).item()
        if norm == 0:
            return direct
        reach = REACH / norm
        at(reach, v)
        up = gradient(train, alphas)
        at(-reach, v)
        down = gradient(train, alphas)
    finally:
        at(0, start)
    return [d - lr * (a - b) / (2 * reach) for d, a, b in zip(direct, up, down, strict=True)]


def _exact(stepper: Stepper, train: Any, val: Any) -> list[Tensor]:
    supernet, loss = stepper.supernet, stepper.task.loss
    weights = {n: p for n, p in supernet.named_parameters() if not n.startswith("alphas.")}
    gradients = torch.autograd.grad(
        loss(supernet, train), list(weights.values()), create_graph=True, materialize_grads=True
    )
    direction = _direction(stepper, averaged(gradients))
    lr = stepper.weight_optimizer.param_groups[0]["lr"]
    moved = {name: w - lr * d for (name, w), d in zip(weights.items(), direction, strict=True)}
    value = loss(lambda x: functional_call(supernet, moved, (x,)), val)  # type: ignore[arg-type]
    return list(torch.autograd.grad(value, supernet.arch_parameters(), materialize_grads=True))


def _direction(stepper: Stepper, gradients: Any) -> list[Tensor]:
    """Return the direction of an SGD step without Nesterov momentum.

    It is momentum * m + gradient + weight_decay * w.
    """
    group = stepper.weight_optimizer.param_groups[0]
    momentum, decay = group.get("momentum", 0.0), group.get("weight_decay", 0.0)
    directions = []
    for w, g in zip(group["params"], gradients, strict=True):
        buffer = stepper.weight_optimizer.state[w].get("momentum_buffer")
        direction = g + decay * w
        directions.append(direction if buffer is None else direction + momentum * buffer)
    return directions
