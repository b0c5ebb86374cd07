"""Trajectories and steps of frames, as numbers that sort.

A trajectory is what ``store.splits.trajectories`` says, and a composition. The code of
a frame holds the number of its trajectory in its upper bits and its position in the
lower ones, so that the nearest frame of the same trajectory is a neighbour in the
order of codes.
"""

import numpy as np
from numpy.typing import NDArray

from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.trajectories import Trajectories

Index = NDArray[np.int64]
Trajectory = tuple[str, str, str]

STEP_BITS = 32
"""Bits of a code that hold the step."""


def trajectories_of(
    version: DatasetVersion, frames: Index
) -> tuple[list[Trajectory], Index]:
    """Name the files and compositions that frames are from.

    Returns:
        (sha256, member, composition) of each, and (frame) which of them it is from.
    """
    if not len(frames):
        return [], np.zeros(0, dtype=np.int64)
    names, formula = np.unique(
        np.array(version.formulas, dtype=str)[frames], return_inverse=True
    )
    pairs = np.stack([version.source_of[frames], formula.reshape(-1)], axis=1)
    unique, of_pair = np.unique(pairs, axis=0, return_inverse=True)
    sources = version.sources
    keys = [
        (sources[s].sha256, sources[s].member, str(names[f]))
        for s, f in unique.tolist()
    ]
    # Two sources may be one file that was read by two readers.
    number = {key: i for i, key in enumerate(sorted(set(keys)))}
    of_key = np.array([number[key] for key in keys], dtype=np.int64)
    return list(number), of_key[of_pair.reshape(-1)]


def frame_codes(trajectory: Index | int, steps: NDArray[np.integer]) -> Index:
    """(frame), trajectory and step in one number."""
    codes: Index = (np.asarray(trajectory, np.int64) << STEP_BITS) + steps.astype(
        np.int64
    )
    return codes


def version_codes(
    version: DatasetVersion,
    frames: Index,
    found: Trajectories,
    number: dict[tuple[int, str], int],
) -> Index:
    """Make the codes of frames of a version.

    Args:
        version: The version.
        frames: Frame indices in version order.
        found: Trajectories of its sources.
        number: Numbers of trajectories and compositions that are known; new ones are
            added.

    Returns:
        (frame), codes.
    """
    if not len(frames):
        return np.zeros(0, dtype=np.int64)
    trajectory, position = (of_frame[frames] for of_frame in found.of(version))
    names, formula = np.unique(
        np.array(version.formulas, dtype=str)[frames], return_inverse=True
    )
    pairs = np.stack([trajectory, formula.reshape(-1)], axis=1)
    unique, of_pair = np.unique(pairs, axis=0, return_inverse=True)
    numbers = np.array(
        [
            number.setdefault((t, str(names[f])), len(number))
            for t, f in unique.tolist()
        ],
        dtype=np.int64,
    )
    return frame_codes(numbers[of_pair.reshape(-1)], position)


def nearest_codes(
    known: Index, wanted: Index
) -> tuple[Index, Index, NDArray[np.float64]]:
    """Find the nearest known frame of the same trajectory.

    Args:
        known: (known), codes.
        wanted: (wanted), codes.

    Returns:
        Of the wanted frames that have one: their places, the places of their nearest,
        and the steps between.
    """
    none = np.zeros(0, dtype=np.int64)
    if not len(known) or not len(wanted):
        return none, none, np.zeros(0)
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    at = np.searchsorted(ranked, wanted)
    left, right = np.maximum(at - 1, 0), np.minimum(at, len(ranked) - 1)
    far = np.iinfo(np.int64).max
    steps = [
        np.where(
            ranked[side] >> STEP_BITS == wanted >> STEP_BITS,
            np.abs(ranked[side] - wanted),
            far,
        )
        for side in (left, right)
    ]
    is_left = steps[0] < steps[1]
    nearest = np.where(is_left, steps[0], steps[1])
    found = np.flatnonzero(nearest < far)
    partner = order[np.where(is_left, left, right)[found]]
    return found, partner, nearest[found].astype(np.float64)
