"""From which value on a frame is flagged, and how to say otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping, read_toml, unknown_key
from dpbench.errors import ConfigError
from dpbench.io.quality.isometry import DISPLACEMENT
from dpbench.io.quality.twins import BUCKET_WIDTH, TOLERANCE


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Thresholds of all flags; each is a key of ``--set KEY=VALUE``.

    Raises:
        ConfigError: If a value makes no sense.
    """

    twin_tolerance: float = TOLERANCE
    """Largest difference of two invariant twins' fingerprints."""
    twin_displacement: float = DISPLACEMENT
    """Å; how far any atom of a twin may be off after it is laid on the other frame."""
    min_distance: float = 0.5
    """Å; two atoms nearer than this are flagged, whatever they are."""
    min_distance_ratio: float = 0.55
    """Two atoms nearer than this share of their covalent radii's sum are flagged."""
    net_force: float = 0.1
    """eV/Å; length of the sum of all forces of a frame. Symmetry makes it zero without
    an external field or fixed atoms; an integration grid does not."""
    force_z: float = 10.0
    """Robust z-score of log(largest force) from which a frame is an outlier."""
    energy_z: float = 10.0
    """Robust z-score of the composition fit's residual per atom."""
    force_floor: float = 0.05
    """eV/Å; largest forces below count as this: relaxed frames are no reference for
    the spread, and never outliers."""
    energy_floor: float = 0.002
    """eV/atom; the least spread of residuals that a z-score divides by."""
    force_spread_floor: float = 0.1
    """The least spread of log(largest force) that a z-score divides by."""
    min_frames: int = 10
    """Fewer frames have no outliers."""
    energy_per_atom_low: float = -1.5e6
    """eV/atom; below lies no element's energy, all electrons counted."""
    energy_per_atom_high: float = 1e3
    """eV/atom; above lies no bound matter."""
    force_rms_high: float = 50.0
    """eV/Å; root mean square force component of a frame."""
    volume_per_atom_low: float = 1.0
    """Å^3; denser than any solid below a thousand GPa."""
    pressure_high: float = 1000.0
    """GPa; largest |trace(virial)| / 3 V."""
    bond_ratio_low: float = 0.65
    """Median over a source of the smallest distance in units of the covalent radii's
    sum: below, lengths may have been divided by 1.89 once too often."""
    bond_ratio_high: float = 1.5
    """Above, lengths may be Bohr that were never converted."""
    trajectory_displacement: float = 0.15
    """Å; steps in which an atom moves farther are too long for the check of energies
    against forces."""
    trajectory_stride: float = 4.0
    """fs; frames farther apart are not compared, where the source tells its time
    step."""
    trajectory_pairs: int = 5
    """Least number of steps on which a trajectory is judged."""
    trajectory_r: float = 0.98
    """Least correlation of energy changes and work."""
    trajectory_slope: float = 0.05
    """Largest deviation of the slope from 1."""
    pulay_pressure: float = 1.0
    """GPa; largest difference of -dE/dV and the virial's pressure, beyond twice its
    standard error."""
    volume_scatter: float = 0.03
    """eV/atom; energies that scatter more about a function of the volume are those of
    liquids or of different structures: their pressures are not judged."""
    volume_range: float = 0.02
    """Least spread of volumes, (largest - smallest) / mean, on which energies are held
    against pressures."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be meant."""
        for item in fields(self):
            value = getattr(self, item.name)
            if not item.name.startswith("energy_per_atom") and not value >= 0:
                raise ConfigError(f"{item.name} = {value}; expected 0 or more.")
        if self.twin_tolerance > BUCKET_WIDTH / 2:
            raise ConfigError(
                f"twin_tolerance = {self.twin_tolerance}; expected at most "
                f"{BUCKET_WIDTH / 2}: beyond, frames of molecular dynamics are alike."
            )


def read_thresholds(
    settings: Sequence[str] = (), *, file: Path | None = None
) -> Thresholds:
    """Read thresholds from a TOML file, then from ``KEY=VALUE`` texts.

    Raises:
        ConfigError: If a key is unknown, or a value no number.
    """
    known = {item.name: item for item in fields(Thresholds)}
    values: dict[str, Any] = {}
    if file is not None:
        values |= read_toml(file)
        from_mapping(Thresholds, values, where=str(file))
    for text in settings:
        key, equals, number = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected KEY=VALUE.")
        if key not in known:
            raise ConfigError(f"--set {text}: {unknown_key(key, known)}")
        values[key] = _number(text, number, known)
    return from_mapping(Thresholds, values, where="--set")


def _number(text: str, number: str, known: Mapping[str, Any]) -> int | float:
    is_whole = isinstance(known[text.partition("=")[0]].default, int)
    try:
        return int(number) if is_whole else float(number)
    except ValueError as error:
        kind = "a whole number" if is_whole else "a number"
        raise ConfigError(f"--set {text}: '{number}' is not {kind}.") from error
