"""Tasks for the tests of spreading: functions of a module, as other processes need."""

import errno
import os
import signal
import subprocess
import time
from pathlib import Path

from dpbench.errors import ModelError, WorkspaceError


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


def process(_: int) -> int:
    """Say which process this is."""
    return os.getpid()


def threads(_: int) -> str:
    """Say how many threads libraries may use."""
    return os.environ["OMP_NUM_THREADS"]


def die_at_three(number: int) -> int:
    """Kill this process if the number is 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse_three(number: int) -> int:
    """Raise an error of dpbench if the number is 3."""
    if number == 3:
        raise ModelError("three: found 3; expected another.")
    return number


def fill_the_disk(number: int) -> int:
    """Raise what a write to a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"walk-{number}")


def refuse_to_write(number: int) -> int:
    """Raise the same in words."""
    raise WorkspaceError(f"walk-{number}: cannot be written (No space left on device)")


def stumble(number: int) -> int:
    """Raise what nobody expects."""
    raise KeyError(number)


def begin_and_wait(file: Path) -> None:
    """Start a program, write both process ids down, and wait for ever."""
    with subprocess.Popen(["sleep", "600"]) as child:
        file.write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)


def note_times(folder: Path) -> None:
    """Write down when this task began and ended."""
    started = time.monotonic()
    time.sleep(0.2)
    (folder / f"{os.getpid()}-{started}").write_text(f"{started} {time.monotonic()}")
