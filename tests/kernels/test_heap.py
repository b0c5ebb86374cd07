"""Memory between steps."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np
from dpbench.kernels.heap import keep_freed_memory

def step():
    arrays = [np.ones(1 << 17) for _ in range(8)]  # 8 MB in all
    return sum(array[0] for array in arrays)

def faults():
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10

print(faults(), int(keep_freed_memory()), faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc")
def test_steps_touch_no_new_pages():
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    before, is_kept, after = out.stdout.split()
    if not int(is_kept):
        pytest.skip("no glibc")
    # 2048 pages a step by default, unless pages are large.
    assert float(after) < min(10, float(before) + 1)
