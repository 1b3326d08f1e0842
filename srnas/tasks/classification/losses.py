"""Losses of classification: scalar functions of logits (B, classes) and labels (B,)."""

import functools
from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from srnas.components import Registry

ClassLoss = Callable[[Tensor, Tensor], Tensor]
CLASS_LOSSES: Registry[ClassLoss] = Registry("classification loss")


@CLASS_LOSSES.register("cross_entropy")
def cross_entropy(*, label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0) -> ClassLoss:
    """Cross-entropy, averaged over the batch.

    Args:
        label_smoothing: Fraction of the target that is spread over all classes (ImageNet: 0.1).
    """
    return functools.partial(F.cross_entropy, label_smoothing=label_smoothing)
