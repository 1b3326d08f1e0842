"""BatchNorm, and how it counts batches."""

import torch
from torch import Tensor, nn

from srnas.fast.memory_format import in_fast_memory


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, of which only the time on a CPU differs; see `nn.BatchNorm2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        return in_fast_memory(super().forward, input) if self.training else super().forward(input)


def count_batch(norm: nn.BatchNorm2d) -> float:
    """Count a batch in training; return how much of it goes into the running statistics."""
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:  # the mean of all batches
            momentum = 1 / float(norm.num_batches_tracked)
    return momentum


@torch.no_grad()
def track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Update running statistics with the mean and the unbiased variance of a batch, (C,)."""
    momentum = count_batch(norm)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
        norm.running_var.lerp_(variance.to(norm.running_var), momentum)
