"""How much memory resident frames may take."""

import os
from pathlib import Path
from threading import Lock
from typing import final

import torch

from dpbench.train.config import parse_budget

SHARE = 0.5
"""Share of the free memory that resident frames take unless a budget is stated."""

UNKNOWN_FREE = 2 * 1024**3
"""Free bytes that are assumed on a system that does not tell."""

_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


@final
class MemoryBudget:
    """Bytes that may be taken, by several threads.

    Invariant: what was taken is never more than ``total``.
    """

    def __init__(self, total: int) -> None:
        """Start with nothing taken."""
        self.total = total
        self.taken = 0
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False, and nothing taken, if they are not left."""
        with self._lock:
            if self.taken + size > self.total:
                return False
            self.taken += size
            return True


def make_budget(text: str, device: torch.device, *, sharers: int = 1) -> MemoryBudget:
    """Set up the budget of one process.

    Args:
        text: As ``parse_budget`` takes it; a size is that of each process.
        device: Where frames shall be resident.
        sharers: Processes that share the memory of the host; each CUDA device has
            one process.

    Raises:
        ConfigError: If the text is no size.
    """
    stated = parse_budget(text)
    if stated is not None:
        return MemoryBudget(stated)
    if device.type == "cuda":
        return MemoryBudget(int(SHARE * torch.cuda.mem_get_info(device)[0]))
    return MemoryBudget(int(SHARE * free_memory()) // sharers)


def free_memory() -> int:
    """Bytes of the host that this process may take, as its control group allows."""
    found = [_available()]
    for limit, used in _CGROUPS:
        try:
            most = Path(limit).read_text().strip()
            now = Path(used).read_text().strip()
        except OSError:
            continue
        if most.isdigit() and now.isdigit():
            found.append(max(0, int(most) - int(now)))
    return min(found)


def _available() -> int:
    """Bytes that the system says are available."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return UNKNOWN_FREE
