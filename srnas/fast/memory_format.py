"""Memory formats: channels-last for networks and images, and where another one is faster on a CPU.

In channels-last memory torch sums the statistics of BatchNorm in each thread into a row of its own,
and rows of 4, 8 or 12 channels share cache lines: (64, 4, 32, 32) takes 4.1 ms forward and backward
on two threads, where the usual memory takes 0.3 ms and the ways there and back another 0.3 ms. Rows
of 20 or 36 channels gain less (3.5 and 1.6 ms for (64, 36, 16, 16)), those of 24 or 72 nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from srnas.fast import on

LINE = 16  # single-precision numbers in a cache line
HALF = 8  # wider rows that end in the middle of a line gain less than the ways cost
NARROW = 8  # below this, one thread gains as well


def layout() -> torch.memory_format:
    """Return the memory format of networks and of images (B, C, H, W)."""
    return torch.channels_last if on("memory_format") else torch.contiguous_format


def in_fast_memory(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a BatchNorm with the statistics of the batch in the memory format that is fast.

    Args:
        norm: Maps (B, C, H, W) to (B, C, H, W).
        x: Its input.

    Returns:
        Its output, in the memory format of the input.
    """
    return _in_usual_memory(norm, x) if _shares_lines(x) else norm(x)


def _in_usual_memory(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
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
        and on("memory_format")
    )


def dense(x: Tensor) -> Tensor:
    """Return a feature map in memory of its own if it is a slice of the channels of another.

    Every convolution of the slice would copy it, forward and backward.
    """
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    return _copy(x) if on("memory_format") else x


def _copy(x: Tensor) -> Tensor:
    last = x.stride(1) == 1
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
