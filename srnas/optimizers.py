"""Optimizers with a scheduled learning rate."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import nn

from srnas.components import Registry
from srnas.errors import short
from srnas.schedules import Schedule, ScheduleOption, Update

Beta = Annotated[float, Interval(ge=0, lt=1)]
NonNegative = Annotated[float, Ge(0)]
Parameters = Sequence[nn.Parameter]
# What torch's optimizers keep of each parameter once it has moved.
_MOMENTS: dict[type[torch.optim.Optimizer], set[str]] = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}


class ScheduledOptimizer:
    """A torch optimizer whose learning rate follows a schedule.

    Args:
        lr: Learning rate over the progress of the run.
        update: Whether the learning rate changes every "epoch" or every "step".
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, lr: Schedule, update: Update = "step"
    ) -> None:
        self.optimizer = optimizer
        self.schedule = lr
        self.update = update

    @property
    def lr(self) -> float:
        """Current learning rate."""
        return float(self.param_groups[0]["lr"])

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the torch optimizer."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        """State of each parameter in the torch optimizer (momentum, moments)."""
        return self.optimizer.state

    def set_progress(self, by_step: float, by_epoch: float) -> None:
        """Set the learning rate.

        Args:
            by_step: Progress of the run in [0, 1] at the current step.
            by_epoch: Progress of the run at the first step of the current epoch.
        """
        lr = self.schedule(by_epoch if self.update == "epoch" else by_step)
        for group in self.param_groups:
            group["lr"] = lr

    def zero_grad(self) -> None:
        """Discard the gradients."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Update the parameters with their gradients."""
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch optimizer."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, with the options of this optimizer.

        Of the state's options, only the learning rate is taken, which the schedule will set.

        Raises:
            ValueError: The state belongs to other parameters or to another optimizer.
        """
        kept = ("params", "lr")
        own = [{k: v for k, v in group.items() if k not in kept} for group in self.param_groups]
        self.optimizer.load_state_dict(state)
        for group, options in zip(self.param_groups, own, strict=True):
            group.update(options)
            if type(group["lr"]) not in (int, float) or not math.isfinite(group["lr"]):
                raise ValueError(f"the learning rate is {short(group['lr'])}")
        self._check_state()

    def _check_state(self) -> None:
        """Raise a ValueError if a moment has not the shape of its parameter."""
        names = _MOMENTS.get(type(self.optimizer))
        for parameter, moments in self.state.items():
            for name, value in moments.items():
                if name == "step":
                    fits = isinstance(value, int | float | torch.Tensor) and float(value) >= 0
                else:
                    fits = value is None or (
                        torch.is_tensor(value) and value.shape == parameter.shape
                    )
                if not fits or (names is not None and name not in names):
                    raise ValueError(f"{name} of the optimizer does not fit its parameter")
            if names is not None and moments and moments.keys() != names:
                raise ValueError(f"the optimizer's state lacks one of {', '.join(sorted(names))}")


OPTIMIZERS: Registry[ScheduledOptimizer] = Registry("optimizer")


@OPTIMIZERS.register("adam")
def adam(
    parameters: Parameters,
    *,
    lr: ScheduleOption,
    update: Update = "step",
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    weight_decay: NonNegative = 0.0,
) -> ScheduledOptimizer:
    """Build torch's Adam.

    Args:
        parameters: Parameters to optimize.
        lr: Learning rate, a number or a schedule.
        update: Whether the learning rate changes every "epoch" or every "step".
        betas: Decay rates of the two moments.
        weight_decay: Weight decay, which is coupled into the gradient (L2).
    """
    optimizer = torch.optim.Adam(
        parameters, betas=betas, weight_decay=weight_decay, fused=_fusible(parameters)
    )
    return ScheduledOptimizer(optimizer, lr.build(), update)


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Parameters,
    *,
    lr: ScheduleOption,
    update: Update = "step",
    momentum: Beta = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> ScheduledOptimizer:
    """Build torch's SGD with momentum.

    Args:
        parameters: Parameters to optimize.
        lr: Learning rate, a number or a schedule.
        update: Whether the learning rate changes every "epoch" or every "step".
        momentum: Momentum.
        nesterov: Whether to use Nesterov momentum.
        weight_decay: Weight decay, which is coupled into the gradient (L2).
    """
    optimizer = torch.optim.SGD(
        parameters, lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
    return ScheduledOptimizer(optimizer, lr.build(), update)


def _fusible(parameters: Parameters) -> bool | None:
    """Return whether torch has a fused step for all parameters; None leaves the choice to torch."""
    fits = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return True if parameters and fits else None
