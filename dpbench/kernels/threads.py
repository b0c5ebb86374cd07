"""One number of threads for torch and numba, and work that is shared out by hand."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache, partial
from typing import TypeVar

import torch

T = TypeVar("T")

_SET = threading.local()
"""``count``: what this thread asked numba for last; asking again is not free."""


def threads_here() -> int:
    """Return how many threads work that is begun here may use.

    Only the main thread spreads its loops, see docs/architecture.md: in any other it
    is one.
    """
    is_main = threading.current_thread() is threading.main_thread()
    return torch.get_num_threads() if is_main else 1


def use_threads() -> int:
    """Let numba's parallel loops use as many threads as torch; return how many."""
    import numba
    from numba.core import config

    most: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    count = min(threads_here(), most)
    if getattr(_SET, "count", None) != count:
        numba.set_num_threads(count)
        _SET.count = count
    return count


def spread(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Do independent jobs at once, the first in this thread; return their results.

    Inside of a job torch has one thread. What torch records (gradients, inference) is
    as it is here. In any thread but the main one the jobs are done one by one.
    """
    if len(jobs) < 2 or threads_here() < 2:
        return [job() for job in jobs]
    threads = torch.get_num_threads()
    mode = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    pool = _pool(os.getpid())
    others = [pool.submit(partial(_alone, job, *mode)) for job in jobs[1:]]
    try:
        first = _alone(jobs[0], *mode)
    finally:
        # torch keeps one number for all threads: it is ours again when all are done.
        wait(others)
        torch.set_num_threads(threads)
    return [first, *(other.result() for other in others)]


def _alone(job: Callable[[], T], is_inference: bool, has_grad: bool) -> T:
    torch.set_num_threads(1)
    with torch.inference_mode(is_inference), torch.set_grad_enabled(has_grad):
        return job()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return this process's helpers; one that was forked has none of its parent's.

    They start as they are needed, and stay.
    """
    most = os.cpu_count() or 1
    return ThreadPoolExecutor(most, thread_name_prefix=f"spread-{process}")
