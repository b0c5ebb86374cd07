"""What a run of molecular dynamics is asked to do."""

from dataclasses import dataclass
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
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected a positive number."
                )
        if not self.temperature >= 0 or (
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
