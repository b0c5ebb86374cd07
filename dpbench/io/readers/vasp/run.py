"""What one file of a VASP calculation tells: all ionic steps and the settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.io.parsed import Quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class VaspRun:
    """All ionic steps of one file. What a step lacks is NaN."""

    format: str
    """``vasp/outcar`` or ``vasp/xml``."""
    z: tuple[int, ...]
    """Atomic number of each atom."""
    coord: NDArray[np.float64]
    """(frame, atom, 3), Å; NaN where the step has no readable table."""
    box: NDArray[np.float64]
    """(frame, 3, 3), Å."""
    energy: NDArray[np.float64]
    """(frame), eV, the free energy TOTEN."""
    force: NDArray[np.float64]
    """(frame, atom, 3), eV/Å."""
    stress: NDArray[np.float64]
    """(frame, 3, 3), kbar, compression > 0 as VASP prints it."""
    n_scf: NDArray[np.int16]
    """(frame), electronic iterations; -1 = not told."""
    step: NDArray[np.int32]
    """(frame), ionic step, from 1 as VASP counts."""
    verdict: tuple[Quarantine, ...]
    """(frame), what the convergence and completeness gate found."""
    complete: bool
    """Whether the end marker is there."""
    settings: dict[str, Any]
    """Facts for the level of theory, under the names of INCAR tags."""
    notes: tuple[str, ...] = ()
    """Facts to show the user."""

    @property
    def nframes(self) -> int:
        """Number of ionic steps."""
        return len(self.energy)


def element_of(name: str) -> str | None:
    """Return the element of a POTCAR name such as ``Sn_d`` or ``H.75``."""
    for length in (2, 1):
        symbol = name[:length]
        rest = name[length:]
        if symbol in SYMBOLS[1:] and not rest[:1].islower():
            return symbol
    # vasprun.xml of some versions prints Zr as "r"
    return {"r": "Zr", "X": "Xe"}.get(name.strip())
