"""How many cores this process may use."""

import os


def available_cores() -> int:
    """Count the cores that this process may use; where unknown, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
