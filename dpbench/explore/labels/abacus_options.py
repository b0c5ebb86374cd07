"""Table ``[label.abacus]``: how ABACUS labels."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class AbacusOptions:
    """Options of ABACUS: the user's INPUT, k-points, potentials and orbitals."""

    input: Path
    """INPUT; parameters of the task and of its files are replaced, all else is
    kept."""
    pseudopotentials: dict[str, Path]
    """Element -> its pseudopotential; copied into the folder of each frame."""
    orbitals: dict[str, Path] = field(default_factory=dict)
    """Element -> its numerical orbitals, for ``basis_type lcao``."""
    kpt: Path | None = None
    """KPT, the same for all frames."""
    kspacing: float | None = None
    """1/Å with the factor 2 pi: N = ceil(|b| / kspacing) divisions about Gamma along
    each reciprocal vector of each frame. None = KPT, or gamma_only of INPUT."""
    command: str = "abacus"
    """What runs, e.g. ``mpirun -np 8 abacus``."""
    version: str = ""
    """Version of ABACUS; part of what decides a label."""
    remedies: tuple[str, ...] | None = None
    """Names of the remedies that may be tried, in order; None = all."""

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        if self.kpt is not None and self.kspacing is not None:
            raise ConfigError(
                "kpt and kspacing: both given; expected one of them. Take one out."
            )
        if self.kspacing is not None and not 0 < self.kspacing < 10:
            raise ConfigError(
                f"kspacing = {self.kspacing:g} 1/Å; expected more than 0, e.g. 0.25."
            )
        if not self.pseudopotentials:
            raise ConfigError(
                "pseudopotentials: names no element; expected a file for each, e.g. "
                'Al = "Al.upf". Add them.'
            )
        unlike = set(self.orbitals) ^ set(self.pseudopotentials)
        if self.orbitals and unlike:
            raise ConfigError(
                f"orbitals and pseudopotentials: {', '.join(sorted(unlike))} in one of "
                "them alone; expected the same elements in both. Add what is missing."
            )

    def resolved(self, base: Path) -> "AbacusOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""

        def placed(files: dict[str, Path]) -> dict[str, Path]:
            return {symbol: (base / path).resolve() for symbol, path in files.items()}

        return replace(
            self,
            input=(base / self.input).resolve(),
            pseudopotentials=placed(self.pseudopotentials),
            orbitals=placed(self.orbitals),
            kpt=None if self.kpt is None else (base / self.kpt).resolve(),
        )
