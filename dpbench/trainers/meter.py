"""What a program and all that it started have used, read while they run.

The kernel counts a process for its parent only when the parent waits for it. The
sandbox ends before that, so its own count lacks the program inside.
"""

import os
from pathlib import Path

PROC = Path("/proc")

TICKS = os.sysconf("SC_CLK_TCK")
"""Units of processor time in a second."""

UTIME = 11
"""Field of ``/proc/PID/stat`` behind the name; the time of ended children is next."""


class Meter:
    """The largest use of a tree of processes that was seen.

    Source:
        proc(5): ``/proc/PID/stat``, ``/proc/PID/status`` and
        ``/proc/PID/task/TID/children``.
    """

    def __init__(self, pid: int) -> None:
        """Name the process at its root."""
        self.pid = pid
        self.cpu_s = 0.0
        """Seconds of processors, user and system."""
        self.peak_bytes = 0
        """Largest memory of one of the processes."""

    def look(self) -> None:
        """Read the processes that there are now."""
        ticks, left, known = 0, [self.pid], {self.pid}
        while left:
            folder = PROC / str(left.pop())
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[UTIME : UTIME + 4])
                self._weigh(folder)
                for task in (folder / "task").iterdir():
                    found = (task / "children").read_text().split()
                    new = {int(pid) for pid in found} - known
                    known |= new
                    left += new
            except (OSError, ValueError):
                continue  # it has just ended
        self.cpu_s = max(self.cpu_s, ticks / TICKS)

    def _weigh(self, folder: Path) -> None:
        for line in (folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)
