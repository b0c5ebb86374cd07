"""Section ``[label]``: which program labels, and how hard it tries."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from dpbench.errors import ConfigError
from dpbench.explore.labels.abacus_options import AbacusOptions
from dpbench.explore.labels.ase_options import AseOptions
from dpbench.explore.labels.command_options import CommandOptions
from dpbench.explore.labels.cp2k_options import Cp2kOptions
from dpbench.explore.labels.driver import JobResources
from dpbench.explore.labels.qe_options import QEOptions
from dpbench.explore.labels.tblite_options import TbliteOptions
from dpbench.explore.labels.vasp_options import VaspOptions

DriverName = Literal["qe", "cp2k", "vasp", "abacus", "ase", "tblite", "command"]
"""Programs that label; keys of the driver table."""


class Options(Protocol):
    """What the options of every driver can do; keys are fields of the dataclass."""

    def resolved(self, base: Path) -> Any:
        """Return them with absolute paths; those of a file begin at ``base``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSettings:
    """Section ``[label]``. The options of a driver stand in a table of its name."""

    driver: DriverName = "qe"
    """Which program."""
    attempts: int = 4
    """Most runs of one frame: the first, and one for each remedy."""
    timeout: float = 3600.0
    """Seconds that one attempt may take."""
    threads: int = 1
    """Threads of each process of a job (OMP_NUM_THREADS)."""
    processes: int = 1
    """Processes of a job, those that ``mpirun -np N`` of its command starts: so many
    cores are counted for it."""
    max_force: float | None = None
    """eV/Å; a frame with a larger force is quarantined. None = any force is taken."""
    ratio_failed: float = 0.2
    """Share of the frames of an iteration that may be quarantined; if more are, the
    loop stops, because the inputs are wrong and not the frames."""
    qe: QEOptions | None = None
    """Quantum ESPRESSO."""
    cp2k: Cp2kOptions | None = None
    """CP2K."""
    vasp: VaspOptions | None = None
    """VASP."""
    abacus: AbacusOptions | None = None
    """ABACUS."""
    ase: AseOptions | None = None
    """A calculator of ASE."""
    tblite: TbliteOptions | None = None
    """GFN-xTB by tblite."""
    command: CommandOptions | None = None
    """A program of the user."""

    def __post_init__(self) -> None:
        """Check the numbers, and that options belong to the driver."""
        for name in ("attempts", "threads", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} = {getattr(self, name)}; expected 1 or more."
                )
        if not 0 < self.timeout < math.inf:
            raise ConfigError(
                f"timeout = {self.timeout:g} s; expected a number above 0."
            )
        if self.max_force is not None and not self.max_force > 0:
            raise ConfigError(
                f"max_force = {self.max_force:g} eV/Å; expected more than 0."
            )
        if not 0 <= self.ratio_failed <= 1:
            raise ConfigError(
                f"ratio_failed = {self.ratio_failed:g}; expected a share from 0 to 1."
            )
        for name in _tables():
            if name != self.driver and getattr(self, name) is not None:
                raise ConfigError(
                    f"{name}: options of another driver; expected those of driver = "
                    f"'{self.driver}'. Take them out, or choose that driver."
                )

    @property
    def options(self) -> Options | None:
        """The options of the driver that was chosen; None = its defaults."""
        found: Options | None = getattr(self, self.driver)
        return found

    @property
    def cores(self) -> int:
        """Cores that one job keeps busy."""
        return self.threads * self.processes

    @property
    def resources(self) -> JobResources:
        """What one attempt may use."""
        return JobResources(threads=self.threads, seconds=self.timeout)

    def resolved(self, base: Path) -> "LabelSettings":
        """Make the paths of the options absolute; those of a file begin at ``base``."""
        if self.options is None:
            return self
        own: dict[str, Any] = {self.driver: self.options.resolved(base)}
        return replace(self, **own)


def _tables() -> tuple[str, ...]:
    """Return the names of the tables of options: those of the drivers."""
    plain = {"driver", "attempts", "timeout", "threads", "processes", "max_force"}
    names = (field.name for field in fields(LabelSettings))
    return tuple(n for n in names if n not in plain | {"ratio_failed"})
