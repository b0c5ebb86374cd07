"""How different structures are: descriptors, distances and twins.

Two frames are as far apart as their fingerprints: order statistics of what the atoms
have around them, which neither the order of the atoms nor the way the cell is written
changes (``dpbench.io.quality``). Supercells, other compositions and other sizes
compare, for the numbers are those of single atoms.
"""

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.quality.fingerprint import (
    GLOBALS,
    Fingerprints,
    invariant_fingerprints,
    join,
)
from dpbench.io.quality.twins import TOLERANCE, find_twins

BLOCK_FRAMES = 512
"""Frames described at a time."""

ROWS_AT_ONCE = 256
"""Frames whose distances to all others are in memory at a time."""

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


def described(frames: Frames) -> Fingerprints:
    """Describe frames; labels are not looked at.

    Raises:
        ValueError: If a coordinate is not finite or a periodic cell is flat: leave
            such frames out with ``is_describable``.
    """
    return join(
        [
            invariant_fingerprints(
                frames.select(range(first, min(first + BLOCK_FRAMES, frames.nframes)))
            )
            for first in range(0, frames.nframes, BLOCK_FRAMES)
        ]
    )


def is_describable(frames: Frames) -> Mask:
    """(frame), whether all coordinates are finite and the cell has a volume."""
    finite = np.isfinite(frames.coord).all(axis=1)
    sound: Mask = ~frames.any_atom(~finite) & (frames.natoms > 0)
    periodic = frames.pbc.any(axis=1)
    for i in np.flatnonzero(periodic).tolist():
        vectors = frames.box[i][frames.pbc[i]]
        if not np.isfinite(vectors).all():
            sound[i] = False
            continue
        lengths = np.linalg.norm(vectors, axis=1)
        extent = np.sqrt(max(float(np.linalg.det(vectors @ vectors.T)), 0.0))
        sound[i] &= extent > 1e-6 * float(np.prod(lengths))
    return sound


def descriptors(prints: Fingerprints) -> NDArray[np.float64]:
    """(frame, value): what distances are taken of; cell lengths are no part."""
    return prints.vectors[:, :-GLOBALS].astype(np.float64)


def repeated(prints: Fingerprints, *, tolerance: float = TOLERANCE) -> Mask:
    """(frame), whether a twin of a frame stands before it and is kept."""
    pairs = find_twins(prints, tolerance=tolerance)
    dropped = np.zeros(prints.nframes, np.bool_)
    for k in np.argsort(pairs.j, kind="stable").tolist():
        i, j = pairs.i[k], pairs.j[k]
        # Of many equal frames the first stands for all of them.
        if not dropped[i] or pairs.distance[k] == 0:
            dropped[j] = True
    return dropped


def known_already(
    prints: Fingerprints, known: Fingerprints, *, tolerance: float = TOLERANCE
) -> Mask:
    """(frame), whether a frame has a twin among ``known``."""
    found = np.zeros(prints.nframes, np.bool_)
    found[find_twins(prints, known, tolerance=tolerance).i] = True
    return found


def nearest_distance(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(point), distance to the nearest of ``others``; infinite if there is none."""
    nearest = np.full(len(points), np.inf)
    if not len(others):
        return nearest
    square = (others**2).sum(axis=1)
    for first in range(0, len(points), ROWS_AT_ONCE):
        block = points[first : first + ROWS_AT_ONCE]
        gap = (block**2).sum(axis=1)[:, None] + square - 2 * block @ others.T
        nearest[first : first + len(block)] = np.sqrt(np.maximum(gap.min(axis=1), 0))
    return nearest
