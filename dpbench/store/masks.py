"""Rows of a segment that a version leaves out: {reason: [[start, stop], ...]}."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Mask = Mapping[str, Sequence[Sequence[int]]]


def to_ranges(rows: NDArray[np.integer]) -> list[list[int]]:
    """Write rising row numbers as ranges [start, stop)."""
    if len(rows) == 0:
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(rows, breaks)]


def from_ranges(ranges: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Read ranges [start, stop) back into row numbers."""
    parts = [np.arange(start, stop, dtype=np.int64) for start, stop in ranges]
    return np.concatenate([*parts, np.zeros(0, dtype=np.int64)])


def kept_rows(n_rows: int, excluded: Mask) -> NDArray[np.int64]:
    """Return the rows of a segment that no reason excludes."""
    is_kept = np.ones(n_rows, dtype=np.bool_)
    for ranges in excluded.values():
        is_kept[from_ranges(ranges)] = False
    return np.flatnonzero(is_kept)


def excluded_count(excluded: Mask) -> int:
    """Count the excluded rows."""
    return sum(stop - start for ranges in excluded.values() for start, stop in ranges)
