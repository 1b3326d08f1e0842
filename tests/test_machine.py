"""What a process asks of its machine."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from srnas.machine import keep_freed_memory

def faults(megabytes=16, times=40):
    torch.ones(megabytes * 2**18)  # the first pages are new in any case
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(megabytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given = faults()
kept = keep_freed_memory()
print(kept, given, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_memory_that_is_kept_needs_no_new_pages():
    # the kernel counts the pages: 4096 for each of 40 tensors of 16 MiB
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    kept, before, after = done.stdout.split()
    if kept != "True":
        pytest.skip("not glibc")
    assert int(before) > 2 * 4096, "nothing to gain: the test proves nothing"
    assert int(after) < 4096
