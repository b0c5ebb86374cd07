"""What ``[select]`` of an exploration's configuration may say."""

import math
from dataclasses import dataclass, field
from typing import Literal

from dpbench.errors import ConfigError
from dpbench.io.quality.twins import BUCKET_WIDTH, TOLERANCE

Level = tuple[float, float]
"""Lower and upper trust level: x is a candidate where lower <= x < upper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustLevels:
    """Trust levels of one structure, in the place of those of all."""

    force: Level
    """eV/Å, of the largest force deviation; without a unit where it is relative."""
    virial: Level | None = None
    """eV/atom, of the largest virial deviation; None = not looked at."""
    energy: Level | None = None
    """eV/atom, of the energy deviation; None = not looked at."""

    def __post_init__(self) -> None:
        """Refuse levels in the wrong order."""
        for name in ("force", "virial", "energy"):
            check_level(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectSettings:
    """Section ``[select]``.

    Raises:
        ConfigError: If a value makes no sense.
    """

    rule: Literal["fixed", "adaptive"] = "fixed"
    """``fixed`` compares each frame with the trust levels; ``adaptive`` takes the
    frames of the largest deviation below the upper level, whatever it is."""
    force: Level = (0.05, 0.25)
    """eV/Å, trust levels of the largest force deviation of a frame."""
    virial: Level | None = None
    """eV/atom, trust levels of the largest virial deviation; None = not looked at."""
    energy: Level | None = None
    """eV/atom, trust levels of the energy deviation; None = not looked at."""
    structures: dict[str, TrustLevels] = field(default_factory=dict)
    """Levels of single structures, by name, in the place of those above."""
    first: Literal["candidate", "failed"] = "candidate"
    """What a frame is that is a candidate by one quantity and failed by another:
    DP-GEN tests for candidates first, dpgen2 and DP-GEN's simplify for failures."""
    skip: int = 0
    """Frames of earlier steps of a walk are not looked at."""
    relative: float | None = None
    """Level, eV/Å: the deviation of an atom is divided by the length of its mean force
    plus this, as DeePMD-kit's ``--relative``; None = absolute."""
    relative_virial: float | None = None
    """Level, eV/atom, of the relative virial deviation; None = absolute."""
    relative_to_walk: bool = False
    """Whether force deviations are divided by the root mean square force of their
    walk, as DP-GEN's ``model_devi_f_avg_relative``."""
    adaptive_force: int = 10
    """``adaptive``: at least this many candidates by force, of each structure."""
    adaptive_force_percent: float = 0.0
    """``adaptive``: and at least this share, in percent, of the frames not failed."""
    adaptive_virial: int = 0
    """``adaptive``: at least this many candidates by virial, of each structure."""
    adaptive_virial_percent: float = 0.0
    """``adaptive``: and at least this share, in percent, of the frames not failed."""
    pick: Literal["diverse", "largest", "random", "even"] = "diverse"
    """Which candidates are taken where there are more than may be labelled: those that
    differ most from all labelled and from each other, those of the largest deviation,
    any (DP-GEN), or such that all deviations between the levels occur alike (dpgen2's
    ``inv_pop_f``)."""
    most: int = 24
    """Frames to label in an iteration, of all structures together."""
    most_of_structure: int | None = None
    """Frames of one structure (DP-GEN's ``fp_task_max``); None = ``most``."""
    least: int = 0
    """Fewer frames of a structure are not worth it (DP-GEN's ``fp_task_min``)."""
    thin_from: float | None = None
    """Accurate share of a structure from which on fewer of its frames are taken,
    linearly down to none at ``thin_to``; None = ``thin_to``."""
    thin_to: float = 1.0
    """Accurate share of a structure from which on none of its frames is taken."""
    near: float = 0.0
    """Candidates whose descriptor is nearer than this to that of a labelled or a chosen
    frame are left out. A descriptor changes by about 1 when an atom moves by 1 Å."""
    twin_tolerance: float = TOLERANCE
    """Largest difference of two fingerprints of one structure, as in ``dpbench dataset
    quality``."""
    rescue: int = 0
    """Where nothing is a candidate: take this many failed frames, those of the least
    deviation, so that models that are wrong everywhere can get better."""
    cluster: float | None = None
    """Å; judge atom by atom, and label what lies within this distance of a candidate
    atom, without a cell (DP-GEN's ``cluster_cutoff``); None = whole frames."""
    cluster_hard: float | None = None
    """Å; keep the molecules of a cluster whole up to this far from its atom (DP-GEN's
    ``cluster_cutoff_hard``); None = cut them at ``cluster``."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("force", "virial", "energy"):
            check_level(name, getattr(self, name))
        self._check_counts()
        start = self.thin_to if self.thin_from is None else self.thin_from
        if not 0 <= start <= self.thin_to <= 1:
            raise ConfigError(
                f"thin_from = {start}, thin_to = {self.thin_to}; expected "
                "0 <= thin_from <= thin_to <= 1."
            )
        if not 0 <= self.twin_tolerance <= BUCKET_WIDTH / 2:
            raise ConfigError(
                f"twin_tolerance = {self.twin_tolerance}; expected 0 to "
                f"{BUCKET_WIDTH / 2}: beyond, frames of molecular dynamics are alike."
            )
        for name in ("relative", "relative_virial", "cluster"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value}; expected a positive number.")
        if self.relative is not None and self.relative_to_walk:
            raise ConfigError(
                "relative and relative_to_walk: both are given; expected one of them."
            )
        self._check_cluster()

    def levels_of(self, structure: str) -> TrustLevels:
        """Return the trust levels of a structure."""
        own = self.structures.get(structure)
        if own is not None:
            return own
        return TrustLevels(force=self.force, virial=self.virial, energy=self.energy)

    def _check_counts(self) -> None:
        for name in (
            "skip",
            "adaptive_force",
            "adaptive_virial",
            "adaptive_force_percent",
            "adaptive_virial_percent",
            "most",
            "most_of_structure",
            "least",
            "near",
            "rescue",
        ):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} = {value}; expected 0 or more.")
        for name in ("adaptive_force_percent", "adaptive_virial_percent"):
            if getattr(self, name) > 100:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected 0 to 100.")
        if self.rule == "adaptive" and self.energy is not None:
            raise ConfigError(
                "energy: the adaptive rule looks at forces and virials alone. Leave it "
                "out, or set rule = 'fixed'."
            )
        self._check_virial()

    def _check_virial(self) -> None:
        """Refuse candidates by virial where the virial is not looked at."""
        told = [
            name
            for name in ("adaptive_virial", "adaptive_virial_percent")
            if getattr(self, name) > 0
        ]
        levels = [self.virial, *(one.virial for one in self.structures.values())]
        if self.rule == "adaptive" and told and all(one is None for one in levels):
            raise ConfigError(
                f"{told[0]} = {getattr(self, told[0])}: the virial is not looked at; "
                "expected its trust levels. Give virial = [0, 1e10] for an upper level "
                f"that no frame reaches, or leave {told[0]} out."
            )

    def _check_cluster(self) -> None:
        if self.cluster is None:
            if self.cluster_hard is not None:
                raise ConfigError("cluster_hard: needs 'cluster', too. Give both.")
            return
        if self.cluster_hard is not None and not self.cluster_hard >= self.cluster:
            raise ConfigError(
                f"cluster_hard = {self.cluster_hard}; expected at least cluster = "
                f"{self.cluster}."
            )
        others = [n for n in ("virial", "energy") if getattr(self, n) is not None]
        if self.rule != "fixed" or self.relative_to_walk:
            others.append("rule" if self.rule != "fixed" else "relative_to_walk")
        if others:
            raise ConfigError(
                f"cluster: atoms are judged by their force against fixed levels; "
                f"'{others[0]}' does not go with it. Leave one of them out."
            )


def check_level(name: str, level: Level | None) -> None:
    """Refuse trust levels that are negative, not finite or in the wrong order."""
    if level is not None and not 0 <= level[0] <= level[1] < math.inf:
        raise ConfigError(
            f"{name} = {list(level)}; expected two trust levels, "
            "0 <= lower <= upper, such as [0.05, 0.25]. Where nothing shall be above "
            "the upper one, give a number that no frame reaches."
        )
