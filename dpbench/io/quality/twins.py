"""Finding frames that are one structure in two descriptions, by their fingerprints."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.fingerprint import Fingerprints

TOLERANCE = 3e-4
"""Largest difference of any value of two twins' fingerprints.

Structures whose atoms differ by up to 1e-4 Å stay below it: files print 1e-5 Å or
better. Steps of molecular dynamics at 300 K, 2 to 3 fs apart, differ by 1.3e-3 at the
least [Al, 4 atoms], by 6e-3 to 0.2 in Si and water.
"""

BUCKET_WIDTH = 16 * TOLERANCE
"""Width of a bucket: wide beside the tolerance, so that few values lie near an edge."""

BUCKET_VALUES = 4
"""Values of a fingerprint that choose its bucket: those that vary the most."""

SAMPLE = 512
"""Frames whose spread chooses these values."""

PAIRS_AT_ONCE = 200_000
"""Candidate pairs compared at a time: 120 MB of differences."""

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Pairs of frames whose fingerprints agree."""

    i: Index
    """(pair), frame of the first fingerprints."""
    j: Index
    """(pair), frame of the second; of the same ones if there was one set, and i < j."""
    distance: NDArray[np.float64]
    """(pair), largest difference of any value; 0 to ``TOLERANCE``."""


def find_twins(
    a: Fingerprints, b: Fingerprints | None = None, *, tolerance: float = TOLERANCE
) -> Pairs:
    """Find the frames of ``a`` that ``b`` has too, or those that ``a`` has twice.

    Every frame that has a twin stands in a pair. Where many frames have the very same
    fingerprint, the first of them alone is paired with the others of its side and with
    the frames of the other side, and the others with the first: a thousand copies make
    a thousand pairs, not half a million.

    Args:
        a: Fingerprints.
        b: Others; None searches within ``a``.
        tolerance: Largest difference of any value; at most half a bucket, 2.4e-3.

    Returns:
        The pairs, by rising i, then j.

    Raises:
        ValueError: If the schemes differ or the tolerance is too large.
    """
    if b is not None and a.scheme != b.scheme:
        raise ValueError(f"fingerprints of schemes {a.scheme} and {b.scheme}")
    if not 0 <= tolerance <= BUCKET_WIDTH / 2:
        raise ValueError(f"tolerance {tolerance}; need 0 to {BUCKET_WIDTH / 2}")
    found: list[tuple[Index, Index, NDArray[np.float64]]] = []
    for of_a, of_b in _groups(a, b):
        one = a.vectors[of_a]
        if b is None:
            i, j, distance = _within(one, tolerance)
            j = of_a[j]
        else:
            i, j, distance = _between(one, b.vectors[of_b], tolerance)
            j = of_b[j]
        found.append((of_a[i], j, distance))
    return _sorted_pairs(found)


def _groups(a: Fingerprints, b: Fingerprints | None) -> Iterator[tuple[Index, Index]]:
    """Yield the frames of ``a`` and of ``b`` that share a key."""
    of_a = _by_key(a)
    of_b = of_a if b is None else _by_key(b)
    for key in sorted(of_a.keys() & of_b.keys()):
        if b is not None or len(of_a[key]) > 1:
            yield of_a[key], of_b[key]


def _by_key(fingerprints: Fingerprints) -> dict[str, Index]:
    if not fingerprints.nframes:
        return {}
    keys, inverse = np.unique(fingerprints.keys, return_inverse=True)
    order = np.argsort(inverse, kind="stable").astype(np.int64)
    edges = np.searchsorted(inverse[order], np.arange(1, len(keys)))
    return dict(zip(keys.tolist(), np.split(order, edges), strict=True))


def _within(
    vectors: NDArray[np.float32], tolerance: float
) -> tuple[Index, Index, NDArray[np.float64]]:
    """Find pairs i < j among the rows of ``vectors`` (frame, value)."""
    first, member = _first_of_equals(vectors)
    i, j, distance = _near(vectors[first], vectors[first], tolerance)
    once = i < j
    copies = np.flatnonzero(first[member] != np.arange(len(vectors)))
    one = np.concatenate([first[i[once]], first[member[copies]]])
    other = np.concatenate([first[j[once]], copies])
    zero = np.zeros(len(copies))
    return (
        np.minimum(one, other),
        np.maximum(one, other),
        np.concatenate([distance[once], zero]),
    )


def _between(
    one: NDArray[np.float32], other: NDArray[np.float32], tolerance: float
) -> tuple[Index, Index, NDArray[np.float64]]:
    """Find pairs between the rows of two sets (frame, value)."""
    first_a, member_a = _first_of_equals(one)
    first_b, member_b = _first_of_equals(other)
    i, j, distance = _near(one[first_a], other[first_b], tolerance)
    # The copies of a frame of one side meet the first twin of the other side.
    nearest = np.unique(i, return_index=True)[1]
    ia, ja, da = _expand(i[nearest], j[nearest], distance[nearest], member_a, first_a)
    nearest = np.unique(j, return_index=True)[1]
    jb, ib, db = _expand(j[nearest], i[nearest], distance[nearest], member_b, first_b)
    return (
        np.concatenate([first_a[i], ia, first_a[ib]]),
        np.concatenate([first_b[j], first_b[ja], jb]),
        np.concatenate([distance, da, db]),
    )


def _expand(
    i: Index,
    j: Index,
    distance: NDArray[np.float64],
    member: Index,
    first: Index,
) -> tuple[Index, Index, NDArray[np.float64]]:
    """Give the later copies of each representative i its partner j."""
    partner = np.full(len(first), -1, dtype=np.int64)
    partner[i] = np.arange(len(i))
    at = partner[member]
    copies = np.flatnonzero((first[member] != np.arange(len(member))) & (at >= 0))
    return copies, j[at[copies]], distance[at[copies]]


def _first_of_equals(vectors: NDArray[np.float32]) -> tuple[Index, Index]:
    """Find the rows that differ, and for each row which of them it equals."""
    rows = np.ascontiguousarray(vectors + np.float32(0))  # -0 becomes 0
    keys = rows.view(f"V{rows.dtype.itemsize * rows.shape[1]}")[:, 0]
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    return first.astype(np.int64), member.reshape(-1).astype(np.int64)


def _near(
    one: NDArray[np.float32], other: NDArray[np.float32], tolerance: float
) -> tuple[Index, Index, NDArray[np.float64]]:
    """Compare the rows that share a bucket, all their values."""
    axes = _spread_values(one)
    own = np.floor(one[:, axes] / BUCKET_WIDTH).astype(np.int64)
    # A row of the other side looks into every bucket that its tolerance touches; the
    # tolerance is below half a width, so these are two an axis at most.
    low = np.floor((other[:, axes] - tolerance) / BUCKET_WIDTH).astype(np.int64)
    high = np.floor((other[:, axes] + tolerance) / BUCKET_WIDTH).astype(np.int64)
    is_wide = high > low
    found = []
    for side in product((False, True), repeat=len(axes)):
        rows = np.flatnonzero((is_wide | ~np.array(side)).all(axis=1))
        touched = np.where(side, high[rows], low[rows])
        for i, j in _joined(own, touched):
            at = rows[j]
            distance = np.abs(one[i] - other[at]).max(axis=1)
            near = distance <= tolerance
            found.append((i[near], at[near], distance[near]))
    return _concatenated(found)


def _spread_values(vectors: NDArray[np.float32]) -> list[int]:
    """Choose values that vary much, each beyond what the ones before it explain."""
    step = max(1, len(vectors) // SAMPLE)
    rest = vectors[::step].astype(np.float64)
    rest -= rest.mean(axis=0)
    axes: list[int] = []
    for _ in range(min(BUCKET_VALUES, rest.shape[1])):
        square = (rest**2).sum(axis=0)
        axis = int(square.argmax())
        axes.append(axis)
        if square[axis] <= 0:
            break
        direction = rest[:, axis] / np.sqrt(square[axis])
        rest = rest - direction[:, None] * (direction @ rest)
    return axes


def _joined(own: Index, touched: Index) -> Iterator[tuple[Index, Index]]:
    """Yield the pairs (row of own, row of touched) of equal buckets, piece by piece."""
    both = np.concatenate([own, touched])
    _, bucket = np.unique(both, axis=0, return_inverse=True)
    bucket = bucket.reshape(-1)
    mine, theirs = bucket[: len(own)], bucket[len(own) :]
    order = np.argsort(mine, kind="stable").astype(np.int64)
    start = np.searchsorted(mine[order], theirs, side="left")
    count = np.searchsorted(mine[order], theirs, side="right") - start
    total = np.concatenate([[0], np.cumsum(count)])
    for lowest in range(0, int(total[-1]), PAIRS_AT_ONCE):
        pair = np.arange(lowest, min(lowest + PAIRS_AT_ONCE, int(total[-1])))
        j = np.searchsorted(total, pair, side="right") - 1
        yield order[start[j] + pair - total[j]], j.astype(np.int64)


def _concatenated(
    found: list[tuple[Index, Index, NDArray[np.float64]]],
) -> tuple[Index, Index, NDArray[np.float64]]:
    none = np.zeros(0, dtype=np.int64)
    return (
        np.concatenate([none, *(part[0] for part in found)]),
        np.concatenate([none, *(part[1] for part in found)]),
        np.concatenate([np.zeros(0), *(part[2] for part in found)]),
    )


def _sorted_pairs(found: list[tuple[Index, Index, NDArray[np.float64]]]) -> Pairs:
    i, j, distance = _concatenated(found)
    order = np.lexsort((j, i))
    return Pairs(i=i[order], j=j[order], distance=distance[order])
