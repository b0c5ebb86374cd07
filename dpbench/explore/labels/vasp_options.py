"""Table ``[label.vasp]``: how VASP labels."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class VaspOptions:
    """Options of VASP: the user's INCAR, k-points and POTCARs."""

    incar: Path
    """INCAR; tags of ionic motion and of kept files are replaced, all else is kept."""
    potcar: dict[str, Path]
    """Element -> its POTCAR; those of a frame are joined in the order of POSCAR."""
    kpoints: Path | None = None
    """KPOINTS, the same for all frames."""
    kspacing: float | None = None
    """1/Å with the factor 2 pi: N = ceil(|b| / kspacing) divisions about Gamma along
    each reciprocal vector of each frame. None = KPOINTS, or KSPACING of INCAR."""
    magmom: dict[str, float] = field(default_factory=dict)
    """Element -> start of its magnetic moment, for ISPIN = 2."""
    command: str = "vasp_std"
    """What runs, e.g. ``mpirun -np 16 vasp_std``."""
    version: str = ""
    """Version of VASP; part of what decides a label. VASP cannot be asked for it."""
    remedies: tuple[str, ...] | None = None
    """Names of the remedies that may be tried, in order; None = all."""

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        if self.kpoints is not None and self.kspacing is not None:
            raise ConfigError(
                "kpoints and kspacing: both given; expected one of them. Take one out."
            )
        if self.kspacing is not None and not 0 < self.kspacing < 10:
            raise ConfigError(
                f"kspacing = {self.kspacing:g} 1/Å; expected more than 0, e.g. 0.25."
            )
        if not self.potcar:
            raise ConfigError(
                "potcar: names no element; expected one POTCAR for each, e.g. "
                'Al = "POTCAR.Al". Add them.'
            )

    def resolved(self, base: Path) -> "VaspOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""
        return replace(
            self,
            incar=(base / self.incar).resolve(),
            potcar={k: (base / path).resolve() for k, path in self.potcar.items()},
            kpoints=None if self.kpoints is None else (base / self.kpoints).resolve(),
        )
