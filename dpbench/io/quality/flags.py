"""The flags, and what judging a version comes to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.thresholds import Thresholds

RULES = 2
"""Version of the rules: judgements of other versions are not mixed up with these."""

FLAGS = {
    "unconverged": "self-consistency not reached: kept out by the readers",
    "truncated": "the file ends inside the frame: kept out by the readers",
    "duplicate_exact": "the same structure, number by number, stands earlier",
    "duplicate_invariant": "the same structure in another description stands earlier",
    "min_distance": "two atoms are too near to each other",
    "net_force": "the forces do not add up to zero",
    "force_outlier": "the largest force is far from that of the other frames",
    "energy_outlier": "the energy is far from what the composition makes of it",
    "units": "a value that no matter has: look for a wrong unit",
    "trajectory": "energies do not follow the forces along the trajectory",
    "pulay_stress": "the pressure is not how the energy changes with the volume",
}
"""Name of each flag, in the order of their bits, and what it says."""

QUARANTINED = ("unconverged", "truncated")
"""Flags of frames that no version lists: they are counted, and excluded already."""

DECIDED_BY = {
    "duplicate_invariant": ("twin_tolerance", "twin_displacement"),
    "min_distance": ("min_distance", "min_distance_ratio"),
    "net_force": ("net_force",),
    "force_outlier": ("force_z", "force_floor", "force_spread_floor", "min_frames"),
    "energy_outlier": ("energy_z", "energy_floor", "min_frames"),
    "units": (
        "energy_per_atom_low",
        "energy_per_atom_high",
        "force_rms_high",
        "volume_per_atom_low",
        "pressure_high",
        "bond_ratio_low",
        "bond_ratio_high",
    ),
    "trajectory": (
        "trajectory_displacement",
        "trajectory_stride",
        "trajectory_pairs",
        "trajectory_r",
        "trajectory_slope",
    ),
    "pulay_stress": ("pulay_pressure", "volume_range", "volume_scatter"),
}
"""The thresholds that decide on each flag."""

SEVERITY = {
    "min_distance": ("min_distance_ratio", -1.0),
    "net_force": ("net_force", 1.0),
    "force_outlier": ("force_z", 1.0),
    "energy_outlier": ("energy_z", 1.0),
    "units": ("force_rms", 1.0),
    "trajectory": ("force_max", 1.0),
    "pulay_stress": ("pressure", 1.0),
}
"""The value by whose size a flag's worst frames are found, and the sign of worse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Judgement of every frame of a version; derived, and made again when lost."""

    flags: NDArray[np.uint32]
    """(frame), bit b is set where flag ``names[b]`` is raised."""
    values: dict[str, NDArray[Any]]
    """(frame), the numbers behind the flags: those of ``measures.MEASURES``,
    ``force_z``, ``energy_z``, ``energy_residual`` (eV/atom), and ``duplicate_of``, the
    earlier frame that a duplicate repeats, -1 for none."""
    checks: dict[str, Any]
    """Results of the checks of whole sources and groups, as plain values:
    ``trajectory``, ``volume``, ``energy``, ``units`` (a list of verdicts each),
    ``relabelled`` (exact duplicates with other labels), ``twins`` (pairs proposed and
    confirmed), ``quarantined`` (frames kept out, by reason) and ``skipped`` (check,
    reason, frames)."""
    thresholds: Thresholds
    """The thresholds that made it."""
    names: tuple[str, ...] = tuple(FLAGS)
    """Flags, in the order of their bits."""
    rules: int = RULES
    """Version of the rules."""

    @property
    def counts(self) -> dict[str, int]:
        """Frames by flag; of ``unconverged`` and ``truncated``, those kept out."""
        kept_out = self.checks["quarantined"]
        return {
            name: kept_out.get(name, 0) if name in QUARANTINED else len(self.of(name))
            for name in self.names
        }

    @property
    def n_flagged(self) -> int:
        """Frames with any flag."""
        return int(np.count_nonzero(self.flags))

    def of(self, name: str) -> NDArray[np.int64]:
        """Return the frames that have a flag, in version order."""
        bit = np.uint32(1 << self.names.index(name))
        return np.flatnonzero(self.flags & bit).astype(np.int64)

    def worst(self, name: str, most: int) -> NDArray[np.int64]:
        """Return up to ``most`` frames that have a flag, the worst one first."""
        frames = self.of(name)
        if name not in SEVERITY:
            return frames[:most]
        value, sign = SEVERITY[name]
        size = self.values[value][frames]
        size = sign * size if sign < 0 else np.abs(size)
        order = np.argsort(-np.nan_to_num(size, nan=-np.inf), kind="stable")
        return frames[order[:most]]
