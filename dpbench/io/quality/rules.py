"""The rules: from what was measured to flags and verdicts."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.io.quality.fingerprint import GLOBALS
from dpbench.io.quality.gather import Gathered
from dpbench.io.quality.isometry import find_motion
from dpbench.io.quality.outliers import fit_energies, force_scores
from dpbench.io.quality.steps import Steps
from dpbench.io.quality.thresholds import Thresholds
from dpbench.io.quality.trajectories import judge_trajectory
from dpbench.io.quality.twins import find_twins
from dpbench.io.quality.volumes import VolumeData, judge_volumes
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import as_keys
from dpbench.store.theory import Level, compatibility, conflicts

Index = NDArray[np.int64]
Flagged = NDArray[np.bool_]

NOBLE = frozenset({2, 10, 18, 36, 54, 86})
"""Elements that no bond length can be told of."""

MOST_CONFIRMED = 2000
"""Pairs of twins that are confirmed: 0.03 s each for 100 atoms."""

POOLED = 5
"""Sources of fewer frames are judged together, by level of theory."""


def exact_duplicates(data: Gathered) -> Index:
    """Find frames whose structure stands earlier, number by number.

    Returns:
        (frame), the earliest such frame, -1 for none.
    """
    of = np.full(len(data.energy), -1, dtype=np.int64)
    if len(of):
        _, first, inverse = np.unique(
            as_keys(data.digests), return_index=True, return_inverse=True
        )
        origin = first[inverse.reshape(-1)]
        repeats = origin != np.arange(len(of))
        of[repeats] = origin[repeats]
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
        (frame), the earlier frame, -1 for none; and how many pairs were proposed,
        confirmed, refuted, and too many to be confirmed.
    """
    of = np.full(len(data.energy), -1, dtype=np.int64)
    kept = np.flatnonzero(exact < 0).astype(np.int64)
    pairs = find_twins(data.fingerprints.select(kept), tolerance=limits.twin_tolerance)
    order = np.lexsort((pairs.i, pairs.j))
    one, other = kept[pairs.i[order]].tolist(), kept[pairs.j[order]].tolist()
    told: Counter[str] = Counter(proposed=len(one))
    for i, j in zip(one, other, strict=True):
        # A frame that is a duplicate itself makes no others: relaxations would
        # otherwise be linked from end to end, step by small step.
        if of[i] >= 0 or of[j] >= 0:
            continue
        if told["confirmed"] + told["refuted"] >= MOST_CONFIRMED:
            told["unconfirmed"] += 1
            of[j] = i
            continue
        frames = version.read([i]), version.read([j])
        motion = find_motion(*frames, tolerance=limits.twin_displacement)
        told["refuted" if motion is None else "confirmed"] += 1
        if motion is not None:
            of[j] = i
    names = ("proposed", "confirmed", "refuted", "unconfirmed")
    return of, {name: told[name] for name in names}


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


def near_atoms(data: Gathered, limits: Thresholds) -> Flagged:
    """Mark frames in which two atoms are too near to each other, (frame)."""
    flagged: Flagged = (data.values["min_distance"] < limits.min_distance) | (
        data.values["min_distance_ratio"] < limits.min_distance_ratio
    )
    return flagged


def energy_outliers(
    version: DatasetVersion, data: Gathered, limits: Thresholds
) -> tuple[dict[str, NDArray[np.float64]], list[dict[str, Any]]]:
    """Fit energies to compositions, each level of theory by itself.

    Returns:
        ``energy_z`` and ``energy_residual``, (frame), and one entry for each fit.
    """
    z, residual = np.full((2, len(data.energy)), np.nan)
    entries = []
    for theory, members in groups(version, by_formula=False):
        present = data.counts[members].any(axis=0)
        symbols = np.array(version.symbols)[present]
        fitted = fit_energies(
            data.counts[members][:, present],
            data.energy[members],
            elements=tuple(symbols.tolist()),
            thresholds=limits,
        )
        z[members], residual[members] = fitted.z, fitted.residual
        n_elements = int(present.sum())
        entries.append(
            {
                "theory": theory,
                "n_frames": len(members),
                "elements": symbols.tolist(),
                "energy": list(fitted.energy),
                "rank": fitted.rank,
                "is_deficient": fitted.rank < n_elements,
                "spread": None if np.isnan(fitted.spread) else fitted.spread,
            }
        )
    return {"energy_z": z, "energy_residual": residual}, entries


def force_outliers(
    version: DatasetVersion, data: Gathered, limits: Thresholds
) -> NDArray[np.float64]:
    """Score the largest force of each frame among those of its level of theory."""
    z = np.full(len(data.energy), np.nan)
    for _, members in groups(version, by_formula=False):
        z[members] = force_scores(data.values["force_max"][members], limits)
    return z


def implausible(data: Gathered, limits: Thresholds) -> Flagged:
    """Mark frames with a value that no matter has, (frame)."""
    values = data.values
    energy = values["energy_per_atom"]
    flagged: Flagged = (
        (energy < limits.energy_per_atom_low)
        | (energy > limits.energy_per_atom_high)
        | (values["force_rms"] > limits.force_rms_high)
        | (values["volume_per_atom"] < limits.volume_per_atom_low)
        | (np.abs(values["pressure"]) > limits.pressure_high)
    )
    return flagged


def wrong_lengths(
    version: DatasetVersion, data: Gathered, limits: Thresholds
) -> tuple[Flagged, list[dict[str, Any]]]:
    """Find sources whose atoms are all too far apart, or too near, for their unit.

    Returns:
        Whether each frame is of such a source, (frame), and an entry for each.
    """
    ratio = data.values["min_distance_ratio"].copy()
    noble = atomic_numbers(version.symbols, where=version.label)
    is_noble = np.array([z in NOBLE for z in noble], dtype=np.bool_)
    ratio[data.counts[:, is_noble].sum(axis=1) == data.counts.sum(axis=1)] = np.nan
    flagged = np.zeros(len(ratio), dtype=np.bool_)
    entries = []
    for name, members in _sources_or_pools(version):
        known = ratio[members][np.isfinite(ratio[members])]
        if len(known) < POOLED:
            continue
        middle = float(np.median(known))
        if limits.bond_ratio_low <= middle <= limits.bond_ratio_high:
            continue
        cause = (
            "lengths look divided by 1.89 (converted from Bohr twice)"
            if middle < limits.bond_ratio_low
            else "lengths look like Bohr, read as Å (or no two atoms are bonded)"
        )
        flagged[members] = True
        entries.append(
            {
                "source": name,
                "n_frames": len(members),
                "bond_ratio": middle,
                "cause": cause,
            }
        )
    return flagged, entries


def trajectories(
    version: DatasetVersion, data: Gathered, limits: Thresholds
) -> tuple[Flagged, list[dict[str, Any]]]:
    """Judge every source as a trajectory.

    Returns:
        Whether each frame is of a bad one, (frame), and an entry for each source.
    """
    flagged = np.zeros(len(data.energy), dtype=np.bool_)
    entries = []
    for source, members in sources(version):
        steps = Steps(
            work=data.steps.work[members],
            moved=data.steps.moved[members],
            strained=data.steps.strained[members],
        )
        verdict = judge_trajectory(
            data.energy[members],
            version.step[members],
            steps,
            thresholds=limits,
            natoms=int(version.natoms[members[0]]),
        )
        flagged[members] = verdict.is_bad
        entries.append(
            {
                "source": version.sources[source].path,
                "first_frame": int(members[0]),
                "n_frames": len(members),
                **verdict.to_json(),
            }
        )
    return flagged, entries


def pulay_stress(
    version: DatasetVersion, data: Gathered, limits: Thresholds
) -> tuple[Flagged, list[dict[str, Any]]]:
    """Hold energies against pressures, by composition and level of theory.

    Returns:
        Whether each frame is of a bad group, (frame), and an entry for each group.
    """
    flagged = np.zeros(len(data.energy), dtype=np.bool_)
    entries = []
    volume = data.values["volume_per_atom"] * version.natoms
    lengths = data.fingerprints.vectors[:, -GLOBALS:-1].astype(np.float64)
    everything = VolumeData(
        energy=data.energy,
        volume=volume,
        pressure=data.values["pressure"],
        force_rms=data.values["force_rms"],
        shape=lengths / np.cbrt(volume)[:, None],
    )
    for key, members in groups(version, by_formula=True):
        formula, theory = key.split(" ")
        found = judge_volumes(
            everything.select(members), limits, natoms=int(version.natoms[members[0]])
        )
        for rows, verdict in found:
            flagged[members[rows]] = verdict.verdict == "pulay"
            entries.append(
                {
                    "composition": formula,
                    "theory": theory,
                    "first_frame": int(members[rows[0]]),
                    **verdict.to_json(),
                }
            )
    return flagged, entries


def sources(version: DatasetVersion) -> Iterator[tuple[int, Index]]:
    """Yield each source that has frames, and its frames."""
    source_of = version.source_of
    order = np.argsort(source_of, kind="stable").astype(np.int64)
    edges = np.flatnonzero(np.diff(source_of[order])) + 1
    for members in np.split(order, edges):
        if len(members):
            yield int(source_of[members[0]]), members


def groups(version: DatasetVersion, *, by_formula: bool) -> Iterator[tuple[str, Index]]:
    """Yield the frames of compatible levels of theory, or of each formula besides.

    A key is the fingerprint of one of the levels, after the formula if asked for.
    """
    keys = _level_keys(version)[version.source_of]
    if not len(keys):
        return
    if by_formula:
        formulas = np.array(version.formulas, dtype=np.str_)
        keys = np.char.add(np.char.add(formulas, " "), keys)
    names, inverse = np.unique(keys, return_inverse=True)
    order = np.argsort(inverse, kind="stable").astype(np.int64)
    edges = np.searchsorted(inverse[order], np.arange(1, len(names)))
    yield from zip(names.tolist(), np.split(order, edges), strict=True)


def _level_keys(version: DatasetVersion) -> NDArray[np.str_]:
    """(source), one name for all levels of theory that are compatible."""
    levels = {source.theory_id: source.theory for source in version.sources}
    keys = {name: min(levels) for name in levels}
    if conflicts([Level(theory=theory) for theory in levels.values()]):
        heads: list[str] = []
        for name in sorted(levels):
            alike = (h for h in heads if not compatibility(levels[h], levels[name]))
            keys[name] = next(alike, name)
            if keys[name] == name:
                heads.append(name)
    return np.array([keys[source.theory_id] for source in version.sources], dtype="U64")


def _sources_or_pools(version: DatasetVersion) -> Iterator[tuple[str, Index]]:
    """Yield sources of enough frames, and the others pooled by level of theory."""
    pools: dict[str, list[Index]] = {}
    for source, members in sources(version):
        record = version.sources[source]
        if len(members) >= POOLED:
            yield record.path, members
        else:
            pools.setdefault(record.theory_id, []).append(members)
    for theory, parts in sorted(pools.items()):
        yield f"small sources of theory {theory[:12]}", np.concatenate(parts)
