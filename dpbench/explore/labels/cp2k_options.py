"""Table ``[label.cp2k]``: how CP2K labels."""

from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Cp2kOptions:
    """Options of CP2K: a template input and what belongs to it."""

    template: Path
    """An input of CP2K; cell, coordinates, run type and what is printed are replaced,
    all else is kept. It needs a &KIND of every element, but for GFN-xTB."""
    files: tuple[Path, ...] = ()
    """Files that the template names and that lie beside it (basis sets, potentials,
    included pieces); copied into the folder of each frame."""
    data: Path | None = None
    """CP2K's data folder; None = $CP2K_DATA_DIR, or that of the system's package."""
    command: str = "cp2k"
    """What runs, e.g. ``mpirun -np 4 cp2k.psmp``; ``-i`` is added."""
    version: str = ""
    """Version of CP2K; part of what decides a label. Empty = it is asked for it."""
    remedies: tuple[str, ...] | None = None
    """Names of the remedies that may be tried, in order; None = all."""

    def __post_init__(self) -> None:
        """Check what does not need the files."""
        names = [path.name for path in self.files]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"files: '{min(twice)}' twice; expected each name once.")

    def resolved(self, base: Path) -> "Cp2kOptions":
        """Return them with absolute paths; those of a file begin at ``base``."""
        return replace(
            self,
            template=(base / self.template).resolve(),
            files=tuple((base / path).resolve() for path in self.files),
            data=None if self.data is None else (base / self.data).resolve(),
        )
