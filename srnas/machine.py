"""The machine that something runs on: its name, the end of its work, the memory of this process."""

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

import torch

from srnas.errors import counted

LARGEST_BLOCK = 2**25  # bytes; glibc takes no larger bound for blocks that are mapped on their own


def machine(device: torch.device) -> str:
    """Return what a device is: the name of the GPU, or of the processor with its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return f"{_processor()}, {counted(cores, 'core')}, {counted(torch.get_num_threads(), 'thread')}"


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, as every step asks for the same again.

    By default glibc returns large blocks to the system; each step then pays for its pages anew,
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


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_resident() -> float:
    """Return the largest resident set of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would include what the parent had before it started this one
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
