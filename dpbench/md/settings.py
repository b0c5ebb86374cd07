"""What a run of molecular dynamics is asked to do."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from dpbench.errors import ConfigError

Ensemble = Literal["nve", "langevin", "nvt", "npt"]
Thermostat = Literal["none", "langevin", "nhc", "bussi"]

THERMOSTATS: dict[Ensemble, tuple[Thermostat, ...]] = {
    "nve": ("none",),
    "langevin": ("langevin",),
    "nvt": ("nhc", "bussi", "langevin"),
    "npt": ("bussi", "langevin"),
}
"""Thermostats of each ensemble; the first is the default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baths:
    """Ensemble, thermostat and barostat, with the names of LAMMPS and ASE."""

    ensemble: Ensemble = "nve"
    """nve, langevin (canonical by friction and noise), nvt or npt."""
    thermostat: Thermostat | None = None
    """nhc, bussi or langevin; None takes the ensemble's default."""
    temperature: float = 300.0
    """K."""
    pressure: float = 1.0
    """bar; of npt."""
    timestep: float = 1.0
    """fs."""
    tdamp: float = 100.0
    """fs; LAMMPS' ``Tdamp`` and ``damp``, one over ASE's ``friction``."""
    tchain: int = 3
    """Links of the Nose-Hoover chain."""
    tloop: int = 1
    """Substeps of the chain, each of three Suzuki-Yoshida weights."""
    pdamp: float = 1000.0
    """fs; relaxation time of the volume, with ``compressibility`` that of the
    material."""
    compressibility: float = 4.57e-5
    """1/bar; only sets how fast the volume moves. The default is water's."""
    couple: Literal["iso", "aniso"] = "iso"
    """Whether x, y and z scale together or each by its own pressure."""
    zero_every: int = 100
    """Steps between removals of the centre of mass's momentum, where it is conserved;
    0 for never."""

    def __post_init__(self) -> None:
        """Check every number."""
        positive = ("timestep", "tdamp", "pdamp", "compressibility", "tchain", "tloop")
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected a positive number."
                )
        if not math.isfinite(self.pressure):
            raise ConfigError(f"pressure = {self.pressure} bar; expected a number.")
        if not 0 <= self.temperature < math.inf or (
            self.ensemble != "nve" and self.temperature == 0
        ):
            raise ConfigError(
                f"temperature = {self.temperature} K; expected a positive number."
            )
        allowed = THERMOSTATS[self.ensemble]
        if self.thermostat is not None and self.thermostat not in allowed:
            raise ConfigError(
                f"thermostat = {self.thermostat} does not serve ensemble "
                f"{self.ensemble}; expected {' or '.join(allowed)}."
            )

    @property
    def bath(self) -> Thermostat:
        """The thermostat that is used."""
        return self.thermostat or THERMOSTATS[self.ensemble][0]

    @property
    def is_momentum_free(self) -> bool:
        """Whether the bath moves the centre of mass."""
        return self.bath == "langevin"


MEANING: dict[str, tuple[str, ...]] = {
    "pressure": ("npt",),
    "pdamp": ("npt",),
    "compressibility": ("npt",),
    "couple": ("npt",),
    "tdamp": ("langevin", "nhc", "bussi"),
    "tchain": ("nhc",),
    "tloop": ("nhc",),
}
"""Ensembles or thermostats that an option of ``Baths`` means something to."""


def refuse_idle(baths: Baths, given: Collection[str]) -> None:
    """Refuse options that change nothing in this ensemble.

    Args:
        baths: With their defaults filled in.
        given: Names of those fields that the user gave.

    Raises:
        ConfigError: If one of them has no meaning here.
    """
    for name in sorted(given):
        serves = MEANING.get(name)
        if serves is None or {baths.ensemble, baths.bath} & set(serves):
            continue
        kind = "ensemble" if serves == ("npt",) else "thermostat"
        bath = "" if baths.bath == "none" else f" with thermostat {baths.bath}"
        raise ConfigError(
            f"{name}: means nothing to ensemble {baths.ensemble}{bath}; expected "
            f"{kind} {' or '.join(serves)}. Leave it out."
        )


FIELDS = ("coord", "velocity", "force")
"""What a trajectory can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MDConfig:
    """A whole run; written into md.json and restart files."""

    model: str
    """Model file."""
    structure: str
    """Structure file (with ``@INDEX``) or dataset (with ``:INDEX``)."""
    baths: Baths = field(default_factory=Baths)
    """Ensemble and its baths."""
    steps: int
    """Time steps of the whole run."""
    replicas: int = 1
    """Copies that run side by side, each with velocities of its own."""
    repeat: tuple[int, int, int] = (1, 1, 1)
    """Copies of the structure along its cell vectors."""
    velocities: Literal["draw", "file"] = "draw"
    """Drawn at the temperature, or as the structure file has them."""
    seed: int = 0
    """Of velocities and noise."""
    skin: float = 1.0
    """Å, extra radius of the neighbour list."""
    precision: Literal["float32", "float64"] | None = None
    """Of the model; None keeps the file's. Atoms move in float64 anyway."""
    device: str = "cpu"
    """Torch's name of the device."""
    exact: bool = False
    """Whether the embedding nets are evaluated instead of tables made of them."""
    sel_overflow: Literal["error", "deepmd", "deepmd-tf"] | None = None
    """What to do with more neighbours than ``sel``; None: what the model's training
    did."""
    log_every: int = 20
    """Steps between two rows of observables."""
    traj_every: int = 200
    """Steps between two frames; 0 for no trajectory."""
    restart_every: int = 10_000
    """Steps between two restart files; one is written at the end anyway."""
    log_format: Literal["csv", "zarr"] = "csv"
    """Of the observables."""
    traj_format: Literal["extxyz", "zarr"] = "extxyz"
    """Of the trajectory."""
    traj_fields: tuple[str, ...] = ("coord",)
    """Some of ``coord``, ``velocity`` and ``force``."""
    max_temperature: float | None = None
    """K; hotter has exploded. None: max(20 x temperature, 5000 K)."""

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("steps", "replicas", "log_every", "restart_every"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 1 or more."
                )
        if min(self.repeat) < 1:
            raise ConfigError(f"repeat = {self.repeat}; expected 1 or more, each.")
        if self.traj_every < 0 or self.seed < 0:
            raise ConfigError("traj_every and seed cannot be negative.")
        if not (self.skin >= 0 and math.isfinite(self.skin)):
            raise ConfigError(f"skin = {self.skin} Å; expected 0 or more.")
        for name in self.traj_fields:
            if name not in FIELDS:
                raise ConfigError(
                    f"traj_fields: unknown '{name}'; expected {', '.join(FIELDS)}."
                )

    @property
    def limit(self) -> float:
        """Temperature at which the run counts as exploded, K."""
        if self.max_temperature is not None:
            return self.max_temperature
        return default_limit(self.baths.temperature)


TEMPERATURE_FACTOR, TEMPERATURE_FLOOR = 20.0, 5000.0
"""Too hot is max(factor * wanted, floor K), unless the user sets a limit."""


def default_limit(temperature: float) -> float:
    """Return the temperature at which a run counts as exploded, K."""
    return max(TEMPERATURE_FACTOR * temperature, TEMPERATURE_FLOOR)
