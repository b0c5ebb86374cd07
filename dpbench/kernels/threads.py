"""One number of threads for torch and numba."""

import torch


def use_threads() -> int:
    """Let numba's parallel loops use as many threads as torch; return how many.

    Only the main thread calls parallel loops, see docs/architecture.md.
    """
    import numba
    from numba.core import config

    most: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    count = min(torch.get_num_threads(), most)
    numba.set_num_threads(count)
    return count
