"""What a judgement found, as plain values for pages, terminals and machines."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.io.quality.flags import FLAGS, QUARANTINED, SEVERITY, Quality
from dpbench.store.dataset import DatasetVersion

SHOWN = ("min_distance", "net_force", "force_max", "energy_residual", "pressure")
"""Values that are told of every frame that is named."""


def describe(
    version: DatasetVersion, quality: Quality, *, most: int = 5
) -> dict[str, Any]:
    """Tell what was found, with up to ``most`` frames for each flag.

    Returns:
        ``label``, ``digest``, ``n_frames``, ``n_flagged``, ``rules``, ``thresholds``;
        ``flags``: for each its name, meaning, number of frames and worst frames, each
        with its source's path and step; and ``checks`` as ``Quality`` has them.
    """
    counts = quality.counts
    return {
        "label": version.label,
        "digest": version.digest,
        "n_frames": version.nframes,
        "n_flagged": quality.n_flagged,
        "rules": quality.rules,
        "thresholds": to_mapping(quality.thresholds),
        "flags": [
            {
                "name": name,
                "meaning": FLAGS[name],
                "n": counts[name],
                "is_kept_out": name in QUARANTINED,
                "worst": worst_frames(version, quality, name, most=most),
            }
            for name in quality.names
        ],
        "checks": quality.checks,
    }


def worst_frames(
    version: DatasetVersion, quality: Quality, name: str, *, most: int
) -> list[dict[str, Any]]:
    """Name the frames that have a flag, the worst first.

    Returns:
        For each its index in the version, source, step, and values; NaN is None.
    """
    rows = []
    own = SEVERITY.get(name, ("", 1.0))[0]
    shown = [value for value in (own, *SHOWN) if value]
    for frame in quality.worst(name, most).tolist():
        values = {key: _plain(quality.values[key][frame]) for key in shown}
        row = {**place(version, frame), "values": values}
        if name.startswith("duplicate"):
            row["of"] = place(version, int(quality.values["duplicate_of"][frame]))
        rows.append(row)
    return rows


def place(version: DatasetVersion, frame: int) -> dict[str, Any]:
    """Say where a frame comes from: frame, source, step."""
    return {
        "frame": frame,
        "source": version.sources[int(version.source_of[frame])].path,
        "step": int(version.step[frame]),
    }


def check_flags(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of flags, as a user gave them.

    Raises:
        ConfigError: If there is no such flag.
    """
    for name in names:
        if name not in FLAGS:
            known = ", ".join(FLAGS)
            raise ConfigError(f"--exclude {name}: unknown flag; known: {known}.")
    return tuple(dict.fromkeys(names))


def _plain(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None
