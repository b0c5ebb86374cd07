"""Table ``[label.qe]``: how Quantum ESPRESSO labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dpbench.errors import ConfigError

Value = str | bool | int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class QEOptions:
    """Options of pw.x: a template, keys, or keys that change a template."""

    template: Path | None = None
    """An input of pw.x; cell, positions and what belongs to a path of files (prefix,
    outdir, nstep ...) are replaced, all else is kept."""
    control: dict[str, Value] = field(default_factory=dict)
    """Keys of &control, over those of the template."""
    system: dict[str, Value] = field(default_factory=dict)
    """Keys of &system, e.g. ``ecutwfc = 40``."""
    electrons: dict[str, Value] = field(default_factory=dict)
    """Keys of &electrons, e.g. ``conv_thr = 1e-8``."""
    pseudopotentials: dict[str, str] = field(default_factory=dict)
    """Element -> name of its UPF file, over those of the template."""
    pseudo_dir: Path | None = None
    """Folder of the UPF files; None = that of the template, of $ESPRESSO_PSEUDO, or of
    the system's package, the first that holds them all."""
    kspacing: float | None = None
    """1/Å with the factor 2 pi: N = ceil(|b| / kspacing) divisions along each
    reciprocal vector of each frame; None = the k-points of the template."""
    kmesh: tuple[int, int, int] | None = None
    """Divisions, the same for all frames."""
    kshift: tuple[int, int, int] | Literal["monkhorst-pack"] | None = None
    """0 or 1 along each vector: whether the mesh of ``kspacing`` or ``kmesh`` is
    shifted by half a step; None = 0. ``monkhorst-pack``: 1 where the divisions are
    even (Phys. Rev. B 13, 5188, 1976), so that cells of any shape get one kind."""
    command: str = "pw.x"
    """What runs, e.g. ``mpirun -np 4 pw.x -npool 2``; ``-in`` is added."""
    version: str = ""
    """Version of pw.x, part of what decides a label; empty = it is asked itself, which
    needs it on this machine too."""
    remedies: tuple[str, ...] | None = None
    """Names of the remedies that may be tried, in order; None = all."""

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        given = [n for n in ("kspacing", "kmesh") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ConfigError(
                "kspacing and kmesh: both given; expected one of them. Take one out."
            )
        if self.kspacing is not None and not 0 < self.kspacing < 10:
            raise ConfigError(
                f"kspacing = {self.kspacing:g} 1/Å; expected more than 0, e.g. 0.25."
            )
        if self.kmesh is not None and min(self.kmesh) < 1:
            raise ConfigError(f"kmesh = {list(self.kmesh)}; expected 1 or more each.")
        if isinstance(self.kshift, tuple) and not set(self.kshift) <= {0, 1}:
            raise ConfigError(f"kshift = {list(self.kshift)}; expected 0 or 1 each.")
        if self.template is None and not given:
            raise ConfigError(
                "no k-points; expected one of template, kspacing and kmesh. Add one."
            )

    def shift_of(self, divisions: Sequence[int]) -> tuple[int, ...]:
        """Return the shift of a mesh, 0 or 1 along each vector."""
        if self.kshift == "monkhorst-pack":
            return tuple(int(count % 2 == 0) for count in divisions)
        return self.kshift or (0, 0, 0)

    def resolved(self, base: Path) -> "QEOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""
        template = None if self.template is None else (base / self.template).resolve()
        folder = None if self.pseudo_dir is None else (base / self.pseudo_dir).resolve()
        return replace(self, template=template, pseudo_dir=folder)
