"""BatchNorm that stays fast on a CPU where channels do not fill cache lines.

In channels-last memory torch sums the statistics of each thread into a row of its own, and rows of
4, 8 or 12 channels share cache lines: (64, 4, 32, 32) takes 4.1 ms forward and backward on two
threads, where the usual memory takes 0.3 ms and the ways there and back another 0.3 ms. Rows of 20
or 36 channels gain less (3.5 and 1.6 ms for (64, 36, 16, 16)), those of 24 or 72 nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

LINE = 16  # single-precision numbers in a cache line
HALF = 8  # wider rows that end in the middle of a line gain less than the ways cost
NARROW = 8  # below this, one thread gains as well


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


def in_fast_memory(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a BatchNorm with the statistics of the batch in the memory format that is fast.

    Args:
        norm: Maps (B, C, H, W) to (B, C, H, W).
        x: Its input.

    Returns:
        Its output, in the memory format of the input.
    """
    if not _shares_lines(x):
        return norm(x)
    return norm(x.contiguous()).contiguous(memory_format=torch.channels_last)


def _shares_lines(x: Tensor) -> bool:
    channels = x.shape[1]
    return (
        x.device.type == "cpu"
        and (channels < LINE or channels % HALF != 0)
        and (channels < NARROW or torch.get_num_threads() > 1)
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()
        and not torch.compiler.is_compiling()
    )
