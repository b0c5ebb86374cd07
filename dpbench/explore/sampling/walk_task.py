"""What a worker needs to make some walks side by side."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.config import canonical_json, to_mapping
from dpbench.explore.sampling.settings import (
    AseSettings,
    Engine,
    FilterSettings,
    LammpsSettings,
    StageSettings,
)
from dpbench.md.settings import Baths
from dpbench.store.files import sha256_of_file

BAR_PER_GPA = 1e4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WalkTask:
    """Walks of the same atoms at one pressure; picklable."""

    folder: Path
    """Of the stage; each walk has a folder of its own name in it."""
    engine: Engine
    model: Path
    """Whose forces move the atoms."""
    structure: str
    """Name in the configuration."""
    pressure: float | None
    """GPa; None = fixed cell."""
    names: tuple[str, ...]
    """(walk)."""
    temperatures: tuple[float, ...]
    """(walk), K; several only under Langevin friction in a fixed cell."""
    replicas: tuple[int, ...]
    """(walk), number among the walks from one start."""
    origins: tuple[str, ...]
    """(walk), how its start was made."""
    seeds: tuple[int, ...]
    """(walk), of velocities and noise."""
    z: NDArray[np.int64]
    """(atom), atomic numbers."""
    pbc: NDArray[np.bool_]
    """(3)."""
    coord: NDArray[np.float64]
    """(walk, atom, 3), Å."""
    box: NDArray[np.float64]
    """(walk, 3, 3), Å; zero where it is open."""
    stage: StageSettings
    filters: FilterSettings
    lammps: LammpsSettings = field(default_factory=LammpsSettings)
    """Of engine lammps."""
    ase: AseSettings = field(default_factory=AseSettings)
    """Of engine ase."""

    @property
    def baths(self) -> Baths:
        """Ensemble and its targets; the temperature is the highest of the walks."""
        stage, pressure = self.stage, self.pressure
        step = stage.timestep or (0.5 if bool((self.z == 1).any()) else 1.0)
        return Baths(
            ensemble="nvt" if pressure is None else "npt",
            thermostat=stage.thermostat,
            temperature=max(self.temperatures),
            pressure=1.0 if pressure is None else pressure * BAR_PER_GPA,
            timestep=step,
            tdamp=stage.tdamp,
            pdamp=stage.pdamp,
            compressibility=stage.compressibility,
            couple=stage.couple,
        )

    def frames_at(self, step: int) -> bool:
        """Say whether a step gives frames."""
        return step > self.stage.skip and step % self.stage.every == 0

    def volume(self, row: int) -> float | None:
        """Volume at the start of one walk, Å^3; None if it is open."""
        if not self.pbc.all():
            return None
        return abs(float(np.linalg.det(self.box[row])))

    def digest(self) -> str:
        """Name the task by all that decides its walks, the model's content with it."""
        told = {
            "engine": self.engine,
            "model": sha256_of_file(self.model),
            "structure": self.structure,
            "temperatures": list(self.temperatures),
            "pressure": self.pressure,
            "names": list(self.names),
            "origins": list(self.origins),
            "seeds": list(self.seeds),
            "stage": to_mapping(self.stage),
            "filters": to_mapping(self.filters),
            "ase": to_mapping(self.ase),
        }
        digest = hashlib.sha256(canonical_json(told))
        for array in (self.z, self.pbc, self.coord, self.box):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
