"""One number of threads for torch and numba."""

import threading

import torch

_SET = threading.local()
"""``count``: what this thread asked numba for last; asking again is not free."""


def use_threads() -> int:
    """Let numba's parallel loops use as many threads as torch; return how many.

    Only the main thread spreads its loops, see docs/architecture.md: in any other it
    is one.
    """
    import numba
    from numba.core import config

    most: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    is_main = threading.current_thread() is threading.main_thread()
    count = min(torch.get_num_threads(), most) if is_main else 1
    if getattr(_SET, "count", None) != count:
        numba.set_num_threads(count)
        _SET.count = count
    return count
