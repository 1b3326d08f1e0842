"""Second-order DARTS: the alphas' gradient through one step of the weights."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from srnas.updates import UPDATES
from srnas.updates.rule import Steps, UpdateRule

REACH = 0.01  # of the finite difference, over the norm of the direction


@UPDATES.register("unrolled")
class Unrolled(UpdateRule):
    """g = dL_val(w'(alpha), alpha)/dalpha with w' = w - lr (momentum m + dL_train/dw + wd w)
    (DARTS, Eq. 7), then a weight step on the same training batch.

    gradient: "finite_difference": the product of the second derivative and v = dL_val/dw' from
        two passes at w +- 0.01 v / |v| (DARTS, Eq. 8; as released); "exact": by
        differentiating through the step, for twice the memory.

    Momentum is that of an SGD weight optimizer; for Adam the step taken in thought is SGD's
    with its learning rate. The weights and running statistics are restored bit for bit. Of several
    processes each goes through the step on its own part of the batch; the results are averaged.
    """

    def __init__(
        self, *, gradient: Literal["finite_difference", "exact"] = "finite_difference"
    ) -> None:
        self.through = _exact if gradient == "exact" else _finite_difference

    def __call__(self, search: Steps, alpha_moves: bool) -> None:
        train = next(search.train)
        if alpha_moves:
            buffers = [b.clone() for b in search.supernet.buffers()]
            gradients = self.through(search, train, next(search.alpha))
            with torch.no_grad():
                for buffer, kept in zip(search.supernet.buffers(), buffers, strict=True):
                    buffer.copy_(kept)
            search.alpha_step_along(gradients)
        search.weight_step(train)

    def state_dict(self) -> dict[str, Any]:
        return {}


def _finite_difference(search: Steps, train: Any, val: Any) -> list[Tensor]:
    supernet, loss = search.supernet, search.task.loss
    weights, alphas = supernet.weight_parameters(), supernet.arch_parameters()
    start = [w.detach().clone() for w in weights]
    lr = search.weight_optimizer.param_groups[0]["lr"]

    def at(shift: float, direction: list[Tensor]) -> None:
        with torch.no_grad():
            for w, w0, d in zip(weights, start, direction, strict=True):
                w.copy_(w0 + shift * d)

    def gradient(batch: Any, inputs: list[Tensor]) -> list[Tensor]:
        value = loss(supernet, batch)
        return list(torch.autograd.grad(value, inputs, materialize_grads=True))

    try:
        at(-lr, _direction(search, gradient(train, weights)))
        both = gradient(val, [*alphas, *weights])
        direct, v = both[: len(alphas)], both[len(alphas) :]
        norm = torch.sqrt(sum(t.square().sum() for t in v)).item()
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


def _exact(search: Steps, train: Any, val: Any) -> list[Tensor]:
    supernet, loss = search.supernet, search.task.loss
    weights = {n: p for n, p in supernet.named_parameters() if not n.startswith("alphas.")}
    gradients = torch.autograd.grad(
        loss(supernet, train), list(weights.values()), create_graph=True, materialize_grads=True
    )
    lr = search.weight_optimizer.param_groups[0]["lr"]
    moved = {
        name: w - lr * d
        for (name, w), d in zip(weights.items(), _direction(search, gradients), strict=True)
    }
    value = loss(lambda x: functional_call(supernet, moved, (x,)), val)
    return list(torch.autograd.grad(value, supernet.arch_parameters(), materialize_grads=True))


def _direction(search: Steps, gradients: Any) -> list[Tensor]:
    """momentum * m + gradient + weight_decay * w, as SGD would go."""
    group = search.weight_optimizer.param_groups[0]
    momentum, decay = group.get("momentum", 0.0), group.get("weight_decay", 0.0)
    directions = []
    for w, g in zip(group["params"], gradients, strict=True):
        buffer = search.weight_optimizer.state[w].get("momentum_buffer")
        direction = g + decay * w
        directions.append(direction if buffer is None else direction + momentum * buffer)
    return directions
