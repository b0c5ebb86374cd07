"""Judging a version: every frame against the rules, kept for the next time."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality import rules
from dpbench.io.quality.cache import load, save
from dpbench.io.quality.duplicates import (
    exact_duplicates,
    invariant_duplicates,
    relabelled,
)
from dpbench.io.quality.flags import FLAGS, Quality
from dpbench.io.quality.gather import Gathered, Progress, gather
from dpbench.io.quality.thresholds import Thresholds
from dpbench.store.dataset import DatasetVersion


def judge(
    version: DatasetVersion,
    thresholds: Thresholds | None = None,
    *,
    is_cached: bool = True,
    progress: Progress | None = None,
) -> Quality:
    """Judge every frame of a version.

    Reads all frames once, some hundred at a time; about 3 ms for 100 atoms. The result
    is kept under ``derived/quality`` in the workspace, named by the version's frames,
    the rules and the thresholds, and taken from there the next time.

    Args:
        version: What to judge.
        thresholds: From which values on frames are flagged; None = the defaults.
        is_cached: Whether a kept result may be used.
        progress: Is told the number of frames that were measured, block by block.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    limits = thresholds or Thresholds()
    if is_cached:
        known = load(version, limits)
        if known is not None:
            return known
    quality = _judge(version, gather(version, progress=progress), limits)
    save(version, quality)
    return quality


def _judge(version: DatasetVersion, data: Gathered, limits: Thresholds) -> Quality:
    exact = exact_duplicates(version, data)
    invariant, twin_counts = invariant_duplicates(version, data, exact, limits)
    scores, energy_entries = rules.energy_outliers(version, data, limits)
    scores["force_z"] = rules.force_outliers(version, data, limits)
    wrong_lengths, unit_entries = rules.wrong_lengths(version, data, limits)
    bad_steps, trajectory_entries = rules.trajectories(version, data, limits)
    pulay, volume_entries = rules.pulay_stress(version, data, limits)
    raised = {
        "duplicate_exact": exact >= 0,
        "duplicate_invariant": invariant >= 0,
        "min_distance": rules.near_atoms(data, limits),
        "net_force": data.values["net_force"] > limits.net_force,
        "force_outlier": scores["force_z"] > limits.force_z,
        "energy_outlier": np.abs(scores["energy_z"]) > limits.energy_z,
        "units": rules.implausible(data, limits) | wrong_lengths,
        "trajectory": bad_steps,
        "pulay_stress": pulay,
    }
    checks = {
        "trajectory": _not_skipped(trajectory_entries),
        "volume": _not_skipped(volume_entries),
        "energy": energy_entries,
        "units": _not_skipped(unit_entries),
        "relabelled": relabelled(version, exact),
        "twins": twin_counts,
        "quarantined": dict(version.payload["quarantined"]),
        "skipped": [
            *_skipped("trajectory", trajectory_entries),
            *_skipped("pulay_stress", volume_entries),
            *_skipped("units", unit_entries),
            *_unscored(data, scores),
        ],
    }
    return Quality(
        flags=_bits(raised, version.nframes),
        values={**data.values, **scores, "duplicate_of": np.maximum(exact, invariant)},
        checks=checks,
        thresholds=limits,
    )


def _bits(raised: Mapping[str, NDArray[np.bool_]], nframes: int) -> NDArray[np.uint32]:
    flags = np.zeros(nframes, dtype=np.uint32)
    for bit, name in enumerate(FLAGS):
        if name in raised:
            flags |= raised[name].astype(np.uint32) << np.uint32(bit)
    return flags


def _not_skipped(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["verdict"] != "skipped"]


def _skipped(check: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Count what was not checked, by reason."""
    frames: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    for entry in entries:
        if entry["verdict"] == "skipped":
            frames[entry["cause"]] += entry["n_frames"]
            groups[entry["cause"]] += 1
    return [
        {"check": check, "reason": reason, "n_groups": groups[reason], "n_frames": n}
        for reason, n in frames.most_common()
    ]


def _unscored(
    data: Gathered, scores: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Count the frames that a check of single frames could not judge."""
    values = data.values
    cases = (
        ("energy_outlier", "no energy, or too few frames", scores["energy_z"]),
        ("force_outlier", "no forces, or too few frames", scores["force_z"]),
        ("net_force", "no forces", values["net_force"]),
        ("min_distance", "no two atoms within the cutoff", values["min_distance"]),
        ("units", "no volume: a direction is open", values["volume_per_atom"]),
        ("units", "no pressure: no virial or no cell", values["pressure"]),
    )
    return [
        {"check": check, "reason": reason, "n_groups": 1, "n_frames": n}
        for check, reason, value in cases
        if (n := int(np.isnan(value).sum()))
    ]
