"""INCAR, KPOINTS, POSCAR and POTCAR of a single point.

Source: the VASP wiki, pages POSCAR, INCAR, KPOINTS, POTCAR, NELM, ALGO, AMIX.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.frames import Frames
from dpbench.io.readers.vasp.potcar_theory import potcar_hashes
from dpbench.io.readers.vasp.settings import theory_of

_TAG = re.compile(r"^\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")


_NUMBERS = ("ENCUT", "SIGMA", "AEXX", "HFSCREEN")
_WHOLE = ("ISMEAR", "ISPIN", "IVDW")
_FLAGS = ("LHFCALC", "LSORBIT", "LNONCOLLINEAR", "LVDW", "LUSE_VDW")
_UNTOLD = ("code_version", "kpoints", "hubbard_u", "details")
"""What an INCAR alone does not tell, or in other words than an OUTCAR."""


def grouped(frame: Frames) -> NDArray[np.int64]:
    """Return the order (atom) in which POSCAR lists the atoms: element by element."""
    order: NDArray[np.int64] = np.argsort(frame.z, kind="stable")
    return order


def elements(frame: Frames) -> tuple[str, ...]:
    """Return the elements in the order of POSCAR and POTCAR."""
    return symbols_of(np.unique(frame.z).tolist())


def poscar(frame: Frames) -> str:
    """Write POSCAR of one periodic frame, all digits of its numbers."""
    order = grouped(frame)
    numbers = frame.z.tolist()
    kinds = elements(frame)
    counts = [numbers.count(z) for z in np.unique(frame.z).tolist()]
    rows = [*frame.box[0].tolist(), *frame.coord[order].astype(np.float64).tolist()]
    lines = [" ".join(f"{x:.16f}" for x in row) for row in rows]
    return "\n".join(
        [
            " ".join(kinds),
            "1.0",
            *lines[:3],
            " ".join(kinds),
            " ".join(map(str, counts)),
            "Cartesian",
            *lines[3:],
            "",
        ]
    )


def read_tags(text: str) -> dict[str, str]:
    """Read an INCAR: values by tag in capitals, comments left out."""
    tags = {}
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.split(r"[#!]", raw, maxsplit=1)[0]
        for part in line.split(";"):
            match = _TAG.match(part)
            if match is not None:
                tags[match[1].upper()] = match[2]
    return tags


def incar(tags: Mapping[str, str]) -> str:
    """Write an INCAR."""
    return "".join(f"{tag} = {value}\n" for tag, value in tags.items())


def kpoints(mesh: Sequence[int]) -> str:
    """Write KPOINTS of a mesh about Gamma."""
    divisions = " ".join(map(str, mesh))
    return f"{divisions} about Gamma\n0\nGamma\n{divisions}\n0 0 0\n"


def magmom(frame: Frames, moments: Mapping[str, float]) -> str:
    """Write the tag MAGMOM from the moment of each element; 0 where none is given."""
    symbols = symbols_of(frame.z[grouped(frame)].tolist())
    return " ".join(f"{moments.get(symbol, 0.0):g}" for symbol in symbols)


def title_of(potcar: str) -> str:
    """Return the TITEL of a POTCAR; empty if it has none."""
    found = re.search(r"TITEL\s*=\s*(.*?)\s*$", potcar, re.M)
    return " ".join(found[1].split()) if found else ""


def foretold(tags: Mapping[str, str], potcars: Sequence[str]) -> dict[str, Any]:
    """Return what INCAR and POTCARs tell of the level of theory, as outputs will.

    Args:
        tags: Of INCAR.
        potcars: Text of each POTCAR.
    """
    titles = [title for potcar in potcars if (title := title_of(potcar))]
    settings: dict[str, Any] = {"ISPIN": 1, "TITEL": list(titles)}
    for tag, value in tags.items():
        word = value.split()[0] if value.split() else ""
        if tag in _NUMBERS and _is_number(word):
            settings[tag] = float(word.lower().replace("d", "e"))
        elif tag in _WHOLE and _is_number(word):
            settings[tag] = int(float(word))
        elif tag in _FLAGS:
            settings[tag] = word.strip(".").upper().startswith("T")
        elif tag in ("GGA", "METAGGA"):
            settings[tag] = word
    told = theory_of(settings)
    hashes = potcar_hashes("".join(potcars), titles) or {}
    told["pseudopotentials"] = {
        label: {**potential, "hash": hashes.get(label)}
        for label, potential in told["pseudopotentials"].items()
    } or None
    return {k: v for k, v in told.items() if v is not None and k not in _UNTOLD}


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?\d*\.?\d+\.?(?:[eEdD][-+]?\d+)?", word) is not None
