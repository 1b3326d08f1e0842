"""The machine that something runs on: its name, the time that calls take, memory."""

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from srnas.errors import counted

CPU = torch.device("cpu")
WARMUP = 3  # rounds of calls that are not counted
LARGEST_BLOCK = 2**25  # bytes; glibc takes no larger bound for blocks that are mapped on their own


def machine(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return f"{_processor()}, {counted(cores, 'core')}, {counted(torch.get_num_threads(), 'thread')}"


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, as every step asks for the same again.

    By default glibc returns large blocks to the system; each step then pays for its pages again,
    a fifth to a third of the time of a search on small images.

    Returns:
        Whether the C library took the settings; only glibc knows them.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    return bool(mallopt(mmap_threshold, LARGEST_BLOCK)) and bool(mallopt(trim_threshold, 2**31 - 1))


def computes_in_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies numbers of bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    listed = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.11 and later have it
    capabilities: dict[str, object] = listed()
    return any(capabilities.get(key) for key in ("avx512_bf16", "amx_bf16", "bf16"))


def time_alternately(
    calls: Sequence[Callable[[], object]],
    repeats: int,
    warmup: int = WARMUP,
    after_round: Callable[[int], object] | None = None,
    device: torch.device = CPU,
) -> list[list[float]]:
    """Time several calls in rounds, so that a machine that slows down does so for all of them.

    Args:
        calls: The calls; every round makes each of them once, in this order.
        repeats: Number of rounds that count.
        warmup: Number of rounds before them.
        after_round: Called with the number of rounds done, those of the warm-up included.
        device: Device that the calls leave work to.

    Returns:
        The milliseconds of each call, in the order of the rounds.
    """
    times: list[list[float]] = [[] for _ in calls]
    for number in range(warmup + repeats):
        for call, row in zip(calls, times, strict=True):
            row.append(1e3 * seconds_of(call, device))
        if after_round:
            after_round(number + 1)
    return [row[warmup:] for row in times]


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes, with all that it leaves to the device."""
    _wait_for(device)
    began = time.perf_counter()
    call()
    _wait_for(device)
    return time.perf_counter() - began


def peak_memory(device: torch.device) -> int:
    """Return the peak memory so far in bytes: of the device if it is CUDA, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would include what the parent had before it started this one
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def allocated_by(call: Callable[[], object], device: torch.device) -> int | None:
    """Return the peak memory of a call in bytes, beyond what PyTorch had allocated before.

    It is measured on CUDA only; None elsewhere.
    """
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()  # a cached block may be larger than what it is taken for
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
