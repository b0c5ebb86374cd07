"""What is explored and how: the section ``[explore]`` of an exploration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dpbench.errors import ConfigError
from dpbench.explore.sampling.structure_settings import StructureSettings

Engine = Literal["dpbench", "lammps", "ase"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSettings:
    """One stage: a grid of walks that is explored until it converges."""

    structures: tuple[str, ...]
    """Names of ``[[explore.structures]]``."""
    temperatures: tuple[float, ...]
    """K."""
    pressures: tuple[float, ...] = ()
    """GPa; none = the cell stays as it is (NVT)."""
    steps: int = 2000
    """Of each walk."""
    every: int = 20
    """Steps between two frames."""
    skip: int = 0
    """Steps at the start that give no frames; the start itself never does."""
    replicas: int = 1
    """Walks from each start structure, each with velocities of its own."""
    timestep: float | None = None
    """fs; None = 0.5 with hydrogen, else 1."""
    thermostat: Literal["langevin", "bussi", "nhc"] = "langevin"
    """``nhc`` (Nose-Hoover chains) serves a fixed cell alone."""
    tdamp: float = 100.0
    """fs, relaxation time of the temperature."""
    pdamp: float = 1000.0
    """fs, relaxation time of the pressure."""
    compressibility: float = 4.57e-5
    """1/bar; only sets how fast the volume moves."""
    couple: Literal["iso", "aniso"] = "iso"
    """Whether the cell vectors stretch together or each by its own pressure."""

    def __post_init__(self) -> None:
        """Check every number."""
        if not self.structures or not self.temperatures:
            raise ConfigError(
                "structures and temperatures are empty in part; expected one of each "
                "at least. Name them."
            )
        for name in ("steps", "every", "replicas"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 1 or more."
                )
        for name in ("tdamp", "pdamp", "compressibility"):
            _check_positive(name, getattr(self, name))
        for temperature in self.temperatures:
            _check_positive("temperatures", temperature)
        for name in ("structures", "temperatures", "pressures"):
            _check_once(name, getattr(self, name))
        if self.timestep is not None:
            _check_positive("timestep", self.timestep)
        if not all(map(math.isfinite, self.pressures)):
            raise ConfigError(f"pressures = {list(self.pressures)}; expected numbers.")
        if self.thermostat == "nhc" and self.pressures:
            raise ConfigError(
                "thermostat = 'nhc' does not serve stages with pressures; expected "
                "'langevin' or 'bussi'."
            )
        if not 0 <= self.skip < self.steps or self.every > self.steps - self.skip:
            raise ConfigError(
                f"steps = {self.steps}, every = {self.every}, skip = {self.skip}: "
                "leave no frame; expected skip + every <= steps."
            )

    @property
    def frames(self) -> int:
        """Frames that a walk gives if nothing goes wrong."""
        return self.steps // self.every - self.skip // self.every


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterSettings:
    """What makes a frame of a walk unfit for a label; such frames are counted."""

    min_distance: float = 0.5
    """Two atoms nearer than this part of their covalent radii's sum; 0 = off."""
    min_distance_angstrom: float = 0.0
    """Two atoms nearer than this, Å; 0 = off."""
    box_skew: float = 60.0
    """Degrees that a cell vector may lean from upright over the one before; 0 = off."""
    box_ratio: float = 0.0
    """Longest over shortest cell vector; 0 = off."""
    volume_ratio: float = 2.0
    """Volume over that at the start, or its inverse; 0 = off."""
    fragments: int = 0
    """Most parts without a bond between them; 0 = off."""
    bond: float = 1.6
    """What counts as a bond, in units of the covalent radii's sum."""

    def __post_init__(self) -> None:
        """Check every number."""
        for name in ("min_distance", "min_distance_angstrom", "fragments"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 0 (off) or more."
                )
        for name in ("box_ratio", "volume_ratio"):
            value = getattr(self, name)
            if value != 0 and not 1 < value < math.inf:
                raise ConfigError(f"{name} = {value}; expected 0 (off) or above 1.")
        if not 0 <= self.box_skew < 90:
            raise ConfigError(
                f"box_skew = {self.box_skew}; expected degrees below 90, or 0 (off)."
            )
        _check_positive("bond", self.bond)


@dataclass(frozen=True, kw_only=True, slots=True)
class LammpsSettings:
    """Table ``[explore.lammps]``: where LAMMPS is."""

    python: str = ""
    """Python of an environment with the lammps module, for models of dpbench, or with
    DeePMD-kit's plugin, for its models; "" = that of the backend lammps or deepmd."""

    def __post_init__(self) -> None:
        """Check that every worker finds the same file."""
        if self.python and not Path(self.python).is_absolute():
            raise ConfigError(
                f"python = '{self.python}'; expected an absolute path, for workers "
                "run in folders of their own."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AseSettings:
    """Table ``[explore.ase]``: whose forces move the atoms."""

    calculator: str = ""
    """``package.module:Name`` of a calculator; "" = the model."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the calculator is called with."""

    def __post_init__(self) -> None:
        """Check that arguments have a calculator."""
        if self.arguments and not self.calculator:
            raise ConfigError(
                "arguments: there is no calculator that takes them. Name one."
            )
        if self.calculator and ":" not in self.calculator:
            raise ConfigError(
                f"calculator = '{self.calculator}'; expected package.module:Name."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingSettings:
    """Section ``[explore]``: engine, structures, stages and filters."""

    engine: Engine = "dpbench"
    """What moves the atoms."""
    structures: tuple[StructureSettings, ...]
    """What walks start from."""
    stages: tuple[StageSettings, ...]
    """Explored one after the other."""
    filters: FilterSettings = field(default_factory=FilterSettings)
    """What frames have to pass."""
    models: Literal["first", "turns"] = "first"
    """Which model of the ensemble moves the atoms: the first, or each in turn."""
    atoms_at_once: int = 256
    """Most atoms of walks that run side by side in one task."""
    lammps: LammpsSettings = field(default_factory=LammpsSettings)
    """Of engine lammps."""
    ase: AseSettings = field(default_factory=AseSettings)
    """Of engine ase."""

    def __post_init__(self) -> None:
        """Check that names are known, and each is there once."""
        names = [one.name for one in self.structures]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"structures: '{twice[0]}' is there twice; expected names of their "
                "own. Rename one."
            )
        if not self.stages:
            raise ConfigError("stages: there is none; expected one at least.")
        for index, stage in enumerate(self.stages):
            for name in stage.structures:
                self.structure(name, where=f"stages[{index}].structures")
        self._check_idle()
        if self.atoms_at_once < 1:
            raise ConfigError(
                f"atoms_at_once = {self.atoms_at_once}; expected 1 or more."
            )

    def _check_idle(self) -> None:
        """Refuse tables of engines that are not used."""
        for name, given, default in (
            ("lammps", self.lammps, LammpsSettings()),
            ("ase", self.ase, AseSettings()),
        ):
            if given != default and self.engine != name:
                raise ConfigError(
                    f"{name}: means nothing to engine '{self.engine}'; expected "
                    f"engine = '{name}'. Leave it out."
                )

    def structure(self, name: str, *, where: str = "structures") -> StructureSettings:
        """Return the structure of a name.

        Raises:
            ConfigError: If there is none.
        """
        for one in self.structures:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.structures) or "none"
        raise ConfigError(
            f"{where}: unknown structure '{name}'; known: {known}. Add it as "
            "[[explore.structures]]."
        )


def _check_once(name: str, values: Sequence[float | str]) -> None:
    """Refuse values that give walks of one name: they would be one walk twice."""
    shown = [one if isinstance(one, str) else f"{one:g}" for one in values]
    twice = [one for place, one in enumerate(shown) if one in shown[:place]]
    if twice:
        raise ConfigError(
            f"{name} = {list(values)}: {twice[0]} is there twice; expected each once. "
            "Take one out; more walks of the same are replicas."
        )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} = {value}; expected a positive number.")
