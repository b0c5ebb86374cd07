"""Frames whose structure a version holds already."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.fingerprint import Fingerprints
from dpbench.io.quality.gather import Gathered
from dpbench.io.quality.groups import comparable, is_of_undeclared_level, states
from dpbench.io.quality.isometry import find_motion
from dpbench.io.quality.thresholds import Thresholds
from dpbench.io.quality.twins import find_twins
from dpbench.store.dataset import DatasetVersion

Index = NDArray[np.int64]

MOST_CONFIRMED = 2000
"""Pairs of twins that are confirmed: 0.03 s each for 100 atoms."""

PRINTED = 1e-6
"""Å; positions of one file that differ by less are one position, wrapped or rounded."""

SMALL_STEP = 0.05
"""Å; atoms of one file in one order that all moved by less made a step: a structure in
another description has some atom farther off."""


def exact_duplicates(version: DatasetVersion, data: Gathered) -> Index:
    """Find frames whose structure stands earlier, number by number.

    Frames of another charge, multiplicity or incompatible level of theory are others;
    one of an undeclared level repeats any.

    Returns:
        (frame), the earliest such frame, -1 for none.
    """
    of = _first_alike(data.digests, comparable(version))
    of_any = _first_alike(data.digests, states(version))
    is_open = is_of_undeclared_level(version)
    repeats_any = (is_open | is_open[of_any]) if len(is_open) else is_open
    of[repeats_any] = of_any[repeats_any]
    of[of == np.arange(len(of))] = -1
    return of


def invariant_duplicates(
    version: DatasetVersion, data: Gathered, exact: Index, limits: Thresholds
) -> tuple[Index, dict[str, Any]]:
    """Find frames whose structure stands earlier in another description.

    Fingerprints propose pairs, a motion that lays one frame on the other confirms
    them.

    Args:
        version: The version.
        data: What was measured on it.
        exact: (frame), as ``exact_duplicates`` gives it: these are left alone.
        limits: ``twin_tolerance`` and ``twin_displacement`` are used.

    Returns:
        (frame), the earlier frame, -1 for none; and how many pairs were proposed, are
        steps of one source, were confirmed, refuted, and were too many to be confirmed,
        with the frames of these.
    """
    of = np.full(len(data.energy), -1, dtype=np.int64)
    unconfirmed: list[int] = []
    pairs = _proposed(version, data, exact, limits)
    told: Counter[str] = Counter(proposed=len(pairs))
    for i, j in pairs:
        # A frame that is a duplicate itself makes no others: relaxations would
        # otherwise be linked from end to end, step by small step.
        if of[i] >= 0 or of[j] >= 0:
            continue
        if _is_step(version, i, j):
            told["steps"] += 1
            continue
        if told["confirmed"] + told["refuted"] >= MOST_CONFIRMED:
            unconfirmed.append(j)
            of[j] = i
            continue
        is_twin = are_twins(version, i, j, limits)
        told["confirmed" if is_twin else "refuted"] += 1
        if is_twin:
            of[j] = i
    names = ("proposed", "steps", "confirmed", "refuted")
    return of, {
        **{name: told[name] for name in names},
        "unconfirmed": len(unconfirmed),
        "unconfirmed_frames": unconfirmed,
    }


def are_twins(version: DatasetVersion, i: int, j: int, limits: Thresholds) -> bool:
    """Tell whether a motion lays frame i on frame j."""
    frames = version.read([i]), version.read([j])
    return find_motion(*frames, tolerance=limits.twin_displacement) is not None


def _is_step(version: DatasetVersion, i: int, j: int) -> bool:
    """Tell whether frames are of one source and differ as steps of a trajectory do.

    These are in one description, the same atoms in the same order, but not where they
    were: runs that start at rest move by 1e-6 Å in their first steps.
    """
    if version.source_of[i] != version.source_of[j]:
        return False
    one, other = version.read([i]), version.read([j])
    if not np.array_equal(one.z, other.z) or (one.pbc != other.pbc).any():
        return False
    dx = other.coord.astype(np.float64) - one.coord.astype(np.float64)
    periodic = one.pbc[0]
    strain = 0.0
    if periodic.any():
        vectors = one.box[0][periodic].astype(np.float64)
        dx -= np.rint(dx @ np.linalg.pinv(vectors)) @ vectors
        strain = float(np.abs((other.box - one.box)[0][periodic]).max())
    moved = max(float(np.sqrt((dx**2).sum(axis=1)).max()), strain)
    return PRINTED < moved < SMALL_STEP


def _proposed(
    version: DatasetVersion, data: Gathered, exact: Index, limits: Thresholds
) -> list[tuple[int, int]]:
    """Propose pairs (earlier frame, later frame), by rising later frame."""
    kept = np.flatnonzero(exact < 0).astype(np.int64)
    is_open = is_of_undeclared_level(version)
    found: set[tuple[int, int]] = set()
    for keys, any_level in ((comparable(version), False), (states(version), True)):
        if any_level and not is_open.any():
            continue
        prints = Fingerprints(
            vectors=data.fingerprints.vectors,
            keys=np.char.add(data.fingerprints.keys, keys.astype("U10")),
        )
        pairs = find_twins(prints.select(kept), tolerance=limits.twin_tolerance)
        i, j = kept[pairs.i], kept[pairs.j]
        told = is_open[i] | is_open[j] if any_level else np.ones(len(i), dtype=np.bool_)
        found |= set(zip(i[told].tolist(), j[told].tolist(), strict=True))
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def _first_alike(digests: NDArray[np.uint8], keys: Index) -> Index:
    """(frame), the first frame that has the same digest and key: itself, if new."""
    if not len(digests):
        return np.zeros(0, dtype=np.int64)
    marks = np.ascontiguousarray(keys).reshape(-1, 1).view(np.uint8)
    whole = np.ascontiguousarray(np.concatenate([digests, marks], axis=1))
    _, first, inverse = np.unique(
        whole.view(f"V{whole.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    return first[inverse.reshape(-1)].astype(np.int64)


def relabelled(version: DatasetVersion, of: Index) -> list[int]:
    """List the exact duplicates whose labels differ from the earlier frame's.

    Args:
        version: The version; it holds no frame twice, labels and all.
        of: (frame), as ``exact_duplicates`` gives it.
    """
    which = np.flatnonzero(of >= 0)
    digests = version.frame_digests
    differs = (digests[which] != digests[of[which]]).any(axis=1)
    found: list[int] = which[differs].tolist()
    return found
