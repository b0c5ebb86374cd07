"""The rules: from what was measured to flags and verdicts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.io.quality.fingerprint import GLOBALS
from dpbench.io.quality.gather import Gathered
from dpbench.io.quality.groups import groups, sources, sources_or_pools
from dpbench.io.quality.outliers import fit_energies, force_scores
from dpbench.io.quality.steps import Steps
from dpbench.io.quality.thresholds import Thresholds
from dpbench.io.quality.trajectories import judge_trajectory
from dpbench.io.quality.volumes import VolumeData, judge_volumes
from dpbench.store.dataset import DatasetVersion

Index = NDArray[np.int64]
Flagged = NDArray[np.bool_]

POOLED = 5
"""Sources of fewer frames are judged together, by level of theory."""

NOBLE = frozenset({2, 10, 18, 36, 54, 86})
"""Elements that no bond length can be told of."""


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
    for group, members in groups(version, by_formula=False):
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
                "theory": group.theory,
                "state": group.state,
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
    for name, members in sources_or_pools(version, POOLED):
        known = ratio[members][np.isfinite(ratio[members])]
        if len(known) < POOLED:
            reason = f"fewer than {POOLED} frames with a bond length"
            entries.append(_length_entry(name, members, "skipped", cause=reason))
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
        entry = _length_entry(name, members, "units", cause=cause)
        entries.append({**entry, "bond_ratio": middle})
    return flagged, entries


def _length_entry(
    source: str, members: Index, verdict: str, *, cause: str
) -> dict[str, Any]:
    return {
        "source": source,
        "n_frames": len(members),
        "verdict": verdict,
        "cause": cause,
    }


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
            time_step=version.sources[source].time_step,
        )
        flagged[members] = verdict.is_bad
        entries.append(
            {
                "source": version.sources[source].path,
                "first_frame": int(members[0]),
                "n_frames": len(members),
                "n_flagged": len(members) * verdict.is_bad,
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
    for group, members in groups(version, by_formula=True):
        found = judge_volumes(
            everything.select(members), limits, natoms=int(version.natoms[members[0]])
        )
        for rows, verdict in found:
            is_bad = verdict.verdict == "pulay"
            flagged[members[rows]] = is_bad
            entries.append(
                {
                    "composition": group.formula,
                    "theory": group.theory,
                    "state": group.state,
                    "first_frame": int(members[rows[0]]),
                    "n_flagged": len(rows) * is_bad,
                    **verdict.to_json(),
                }
            )
    return flagged, entries
