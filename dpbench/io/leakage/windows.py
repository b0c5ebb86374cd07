"""Twins among many frames, in bounded memory.

``find_twins`` works on float64 copies of all fingerprints at once: gigabytes for a
million frames. Here they pass by in windows.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.fingerprint import Fingerprints
from dpbench.io.quality.twins import TOLERANCE, Pairs, find_twins

WINDOW = 100_000
"""Frames at a time: about 300 MB."""

SAMPLE = 4096
"""Frames whose spread chooses the value that the frames are put in order by."""

Index = NDArray[np.int64]


def twins_within(a: Fingerprints, *, window: int = WINDOW) -> Pairs:
    """Find the frames that ``a`` has twice, as ``find_twins`` does.

    Twins differ by no more than the tolerance in every value. In the order of one value
    they lie close, so each window reaches as far beyond its end as that.

    Args:
        a: Fingerprints.
        window: Frames at a time.
    """
    if a.nframes <= window:
        return find_twins(a)
    found = []
    for frames in _windows(a, window):
        pairs = find_twins(a.select(frames))
        i, j = frames[pairs.i], frames[pairs.j]
        found.append((np.minimum(i, j), np.maximum(i, j), pairs.distance))
    return _once(found)


def twins_between(a: Fingerprints, b: Fingerprints, *, window: int = WINDOW) -> Pairs:
    """Find the frames of ``b`` that ``a`` has too, as ``find_twins`` does.

    Args:
        a: Fingerprints.
        b: Others.
        window: Frames of either at a time.
    """
    if max(a.nframes, b.nframes) <= window:
        return find_twins(a, b)
    found = []
    for one, two in itertools.product(_runs(a, window), _runs(b, window)):
        pairs = find_twins(a.select(one), b.select(two))
        found.append((one[pairs.i], two[pairs.j], pairs.distance))
    return _once(found) if found else find_twins(a, b)


def _runs(prints: Fingerprints, window: int) -> list[Index]:
    n = prints.nframes
    return [np.arange(i, min(i + window, n)) for i in range(0, n, window)]


def _windows(a: Fingerprints, window: int) -> Iterator[Index]:
    """Yield runs of frames in the order of the value that varies most."""
    step = max(1, a.nframes // SAMPLE)
    axis = int(a.vectors[::step].astype(np.float64).var(axis=0).argmax())
    value = a.vectors[:, axis].astype(np.float64)
    order = np.argsort(value, kind="stable")
    ranked = value[order]
    for start in range(0, a.nframes, window):
        last = min(start + window, a.nframes) - 1
        stop = np.searchsorted(ranked, ranked[last] + 2 * TOLERANCE, side="right")
        yield order[start:stop]


def _once(found: list[tuple[Index, Index, NDArray[np.float64]]]) -> Pairs:
    """Join pairs that may have been found in two windows."""
    i, j, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, first = np.unique(np.stack([i, j], axis=1), axis=0, return_index=True)
    return Pairs(i=i[first], j=j[first], distance=distance[first])
