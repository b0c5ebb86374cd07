"""The cost of a program counts the processes that its sandbox hides."""

import subprocess
import sys
from pathlib import Path

from dpbench.trainers.meter import Meter

WORK = """
import subprocess, sys
block = bytearray(64 << 20)
end = "import time\\nwhile time.process_time() < 0.3: pass\\nprint('done', flush=True)"
end += "\\nimport sys; sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", end])
child.wait()
"""


def test_children_that_still_run_are_counted():
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        meter = Meter(program.pid)
        meter.look()
        program.communicate()
    assert meter.cpu_s >= 0.29
    assert 64 << 20 < meter.peak_bytes < 256 << 20
    seen = meter.cpu_s
    meter.look()  # it has ended
    assert meter.cpu_s == seen


def test_a_process_that_is_not_there_has_used_nothing():
    limit = int(Path("/proc/sys/kernel/pid_max").read_text())
    meter = Meter(limit + 1)
    meter.look()
    assert (meter.cpu_s, meter.peak_bytes) == (0.0, 0)
