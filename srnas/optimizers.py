"""Optimizers, with their learning rate as a schedule over the run."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import nn

from srnas.parts import ScheduleOption
from srnas.registry import Registry

OPTIMIZERS = Registry("optimizer")
Beta = Annotated[float, Interval(ge=0, lt=1)]
NonNegative = Annotated[float, Ge(0)]
Parameters = Sequence[nn.Parameter]


@OPTIMIZERS.register("adam")
def adam(
    parameters: Parameters,
    *,
    lr: ScheduleOption,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """torch's Adam; weight decay is coupled into the gradient. lr is set before every step."""
    return torch.optim.Adam(parameters, betas=tuple(betas), weight_decay=weight_decay)


@OPTIMIZERS.register("sgd")
def sgd(
    parameters: Parameters,
    *,
    lr: ScheduleOption,
    momentum: Beta = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> torch.optim.Optimizer:
    """torch's SGD with momentum. lr is set before every step."""
    return torch.optim.SGD(
        parameters, lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )
