"""Work along the steps of trajectories: the numbers behind the trajectory check."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.store.dataset import DatasetVersion

SHIFTS = (-1, 0, 1, 2)
"""Frames k + shift whose forces are held against the step from frame k to k + 1."""

SAME_CELL = 1e-9
"""Å; cells that differ by less are one cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Steps from each frame to the next one of its source."""

    work: NDArray[np.float64]
    """(frame, shift), eV, sum of force_(k + shift) . dx_k, and of virial_(k + shift)
    times the strain where the cell changes; NaN where there is no such frame, or the
    cell changes and there is no virial."""
    moved: NDArray[np.float64]
    """(frame), Å, how far the atom that moves most moves; NaN = no step."""
    strained: NDArray[np.bool_]
    """(frame), whether the cell changes in the step."""


def measure_steps(version: DatasetVersion, indices: NDArray[np.int64]) -> Steps:
    """Measure the steps that start at neighbouring frames of a version.

    A step leads to the next frame of the version if that is a later one of the same
    source, with the same atoms in the same order. dx is the shortest among the images:
    no atom moves by half a cell in a step. Where the cell h changes by dh, atoms keep
    their fractional coordinates s first, which costs -virial : h^-1 dh, and then move
    by ds h.

    Args:
        version: The version.
        indices: Frames, each one more than the one before.
    """
    start, stop = int(indices[0]), int(indices[-1]) + 1
    low, high = max(0, start - 1), min(version.nframes, stop + 2)
    frames = version.read(np.arange(low, high))
    source = version.source_of[low:high]
    later = np.diff(version.step[low:high]) > 0
    linked = (np.diff(source) == 0) & later
    work = np.full((stop - start, len(SHIFTS)), np.nan)
    moved = np.full(stop - start, np.nan)
    strained = np.zeros(stop - start, dtype=np.bool_)
    for k in range(start - low, stop - low):
        if k + 1 >= high - low or not linked[k] or not _same_atoms(frames, k, k + 1):
            continue
        dx, strain = _displacement(frames, k)
        row = k - (start - low)
        moved[row] = np.sqrt((dx**2).sum(axis=1).max(initial=0.0))
        strained[row] = strain is not None
        for column, shift in enumerate(SHIFTS):
            at = k + shift
            if 0 <= at < high - low and source[at] == source[k]:
                work[row, column] = _work(frames, at, dx, strain)
    return Steps(work=work, moved=moved, strained=strained)


def _same_atoms(frames: Frames, one: int, other: int) -> bool:
    z = frames.z
    same_pbc = (frames.pbc[one] == frames.pbc[other]).all()
    return bool(same_pbc) and np.array_equal(
        z[frames.atoms_of(one)], z[frames.atoms_of(other)]
    )


def _displacement(
    frames: Frames, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return dx (atom, 3), Å, from frame k to k + 1, and the strain (3, 3) or None."""
    one = frames.coord[frames.atoms_of(k)].astype(np.float64)
    other = frames.coord[frames.atoms_of(k + 1)].astype(np.float64)
    periodic = frames.pbc[k]
    if not periodic.any():
        return other - one, None
    before, after = frames.box[k], frames.box[k + 1]
    if not periodic.all():
        # Open directions have no cell vector to count in: only a fixed cell is asked.
        is_fixed = np.abs((after - before)[periodic]).max() < SAME_CELL
        strain = None if is_fixed else np.full((3, 3), np.nan)
        return _shortest(other - one, before[periodic]), strain
    fractional = other @ np.linalg.inv(after) - one @ np.linalg.inv(before)
    fractional -= np.rint(fractional)
    if np.abs(after - before).max() < SAME_CELL:
        return fractional @ before, None
    middle = (before + after) / 2
    return fractional @ middle, np.linalg.inv(middle) @ (after - before)


def _shortest(
    dx: NDArray[np.float64], vectors: NDArray[np.float64]
) -> NDArray[np.float64]:
    whole = np.rint(dx @ np.linalg.pinv(vectors))
    shortest: NDArray[np.float64] = dx - whole @ vectors
    return shortest


def _work(
    frames: Frames,
    at: int,
    dx: NDArray[np.float64],
    strain: NDArray[np.float64] | None,
) -> float:
    atoms = frames.atoms_of(at)
    if atoms.stop - atoms.start != len(dx):
        return float("nan")
    work = float((frames.force[atoms].astype(np.float64) * dx).sum())
    if strain is not None:
        work += float((frames.virial[at] * strain).sum())
    return work
