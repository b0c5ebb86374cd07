"""INPUT, KPT and STRU of a single point of ABACUS.

Source: ABACUS documentation, https://abacus.deepmodeling.com, input files.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from dpbench.elements import symbols_of
from dpbench.frames import Frames
from dpbench.units import BOHR


def read_parameters(text: str) -> dict[str, str]:
    """Read an INPUT: values by parameter in small letters, comments left out."""
    found = {}
    for raw in text.splitlines():
        line = re.split(r"[#]|//", raw, maxsplit=1)[0].strip()
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[0] != "INPUT_PARAMETERS":
            found[words[0].lower()] = words[1].strip()
    return found


def input_text(parameters: Mapping[str, str]) -> str:
    """Write an INPUT."""
    lines = [f"{key} {value}" for key, value in parameters.items()]
    return "\n".join(["INPUT_PARAMETERS", *lines, ""])


def kpt(mesh: Sequence[int]) -> str:
    """Write KPT of a mesh about Gamma."""
    divisions = " ".join(map(str, mesh))
    return f"K_POINTS\n0\nGamma\n{divisions} 0 0 0\n"


def stru(
    frame: Frames, *, potentials: Mapping[str, str], orbitals: Mapping[str, str]
) -> str:
    """Write STRU of one periodic frame.

    Args:
        frame: One frame.
        potentials: Name of the pseudopotential file of each element.
        orbitals: Name of the orbital file of each element; empty for plane waves.

    Returns:
        The text; atoms element by element, by atomic number.
    """
    numbers = np.unique(frame.z).tolist()
    kinds = symbols_of(numbers)
    species = [
        f"{kind} {atomic_masses[atomic_numbers[kind]]:.4f} {potentials[kind]}"
        for kind in kinds
    ]
    basis = ["NUMERICAL_ORBITAL", *(orbitals[k] for k in kinds), ""] if orbitals else []
    lines = [
        *("ATOMIC_SPECIES", *species, ""),
        *basis,
        # one Å in bohr: lattice and atoms are then in Å
        *("LATTICE_CONSTANT", repr(1 / BOHR), ""),
        *("LATTICE_VECTORS", *_rows(frame.box[0].tolist()), ""),
        *("ATOMIC_POSITIONS", "Cartesian"),
    ]
    for z, kind in zip(numbers, kinds, strict=True):
        rows = frame.coord[frame.z == z].astype(np.float64).tolist()
        lines += ["", kind, "0.0", str(len(rows)), *(f"{r} 1 1 1" for r in _rows(rows))]
    return "\n".join([*lines, ""])


def _rows(rows: Sequence[Sequence[float]]) -> list[str]:
    return [" ".join(f"{x:.16f}" for x in row) for row in rows]
