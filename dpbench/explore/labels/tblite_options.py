"""Table ``[label.tblite]``: how GFN-xTB labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dpbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TbliteOptions:
    """Options of tblite. Tight binding at the Gamma point alone: large cells only."""

    method: Literal["GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"] = "GFN1-xTB"
    """The parametrisation."""
    electronic_temperature: float = 300.0
    """K, of the Fermi-Dirac occupations."""
    accuracy: float = 1.0
    """tblite's factor on cutoffs and convergence thresholds; smaller is sharper."""
    max_iterations: int = 250
    """Most iterations of the self-consistent charges; does not move the label."""
    charge: int = 0
    """Of every frame, e."""
    unpaired: int = 0
    """Electrons without a partner, of every frame."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("electronic_temperature", "accuracy", "max_iterations"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"{name} = {getattr(self, name):g}; expected more than 0."
                )
        if self.unpaired < 0:
            raise ConfigError(f"unpaired = {self.unpaired}; expected 0 or more.")

    def resolved(self, base: Path) -> "TbliteOptions":
        """Return them: they name no files."""
        del base
        return self
