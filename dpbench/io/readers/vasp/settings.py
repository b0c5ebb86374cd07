"""Settings of a VASP calculation, and the level of theory they make.

OUTCAR and vasprun.xml print the same settings under other names and with other
rounding; both are brought to one dictionary of INCAR tags first, so that the level of
theory does not depend on which of the two files was kept.
"""

import re
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.io.readers.kmesh_theory import infer_mesh
from dpbench.io.readers.vasp.potcar_theory import (
    printed_hashes,
    species_labels,
    without_repeats,
)
from dpbench.io.text import read_text

_FUNCTIONALS = {
    "PE": "PBE",
    "PS": "PBEsol",
    "RP": "RPBE",
    "RE": "revPBE",
    "91": "PW91",
    "CA": "LDA-PZ",
    "AM": "AM05",
    "B3": "B3LYP",
    "BF": "BEEF",
    "OR": "optPBE",
    "BO": "optB88",
    "MK": "optB86b",
}
"""GGA tags, as VASP's manual lists them."""

_POTCAR_FUNCTIONALS = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW": "CA", "US": "CA"}
"""Functional that a POTCAR brings if INCAR names none."""

_IVDW = {
    1: "DFT-D2",
    10: "DFT-D2",
    11: "DFT-D3(zero)",
    12: "DFT-D3(BJ)",
    13: "DFT-D4",
    2: "TS",
    20: "TS",
    21: "TS-HI",
    202: "MBD",
    263: "MBD-FI",
    3: "DFT-ulg",
    4: "dDsC",
}

_PRINTED_POINT = 2e-7
"""What eight printed decimals leave of a k-point's coordinate."""

_SMEARINGS = {
    -5: "tetrahedron-bloechl",
    -4: "tetrahedron",
    -3: "partial",
    -2: "fixed",
    -1: "fermi-dirac",
    0: "gaussian",
    1: "methfessel-paxton",
}


def outcar_settings(head: str) -> dict[str, Any]:
    """Collect the settings that an OUTCAR prints before its first iteration."""
    version = re.match(r"\s*vasp\.(\S+)", head)
    settings: dict[str, Any] = {
        "VERSION": version[1] if version else None,
        "TITEL": _titles(head),
    }
    echo = head.rfind("Startparameter for this run")
    text = head[max(echo, 0) :]
    for tag, pattern, kind in _OUTCAR_TAGS:
        # What INCAR or POTCAR echo stands before; the settings in use come last.
        match = re.search(pattern, text) or re.search(pattern, head)
        if match is not None:
            settings[tag] = _value(match[1], kind)
    settings["HUBBARD"] = _outcar_hubbard(head)
    mesh = re.search(r"generate k-points for:\s*(\d+)\s+(\d+)\s+(\d+)", head)
    rows = re.search(
        r"k-points in reciprocal lattice and weights:[^\n]*\n((?:\s+-?\d+\.\d+.*\n)+)",
        head,
    )
    points = _points(rows[1]) if rows else []
    settings["KPOINTS"] = kpoints(
        [int(mesh[i]) for i in (1, 2, 3)] if mesh else None, points
    )
    settings["HASHES"] = printed_hashes(head)
    settings["CHARGE"] = charge(
        settings.get("NELECT"), _integers(head, "ions per type ="), _valences(head)
    )
    return settings


def charge(
    nelect: float | None, counts: Sequence[int], valences: Sequence[float]
) -> float | None:
    """Return the charge of the cell, e: valence electrons of its atoms less NELECT.

    Args:
        nelect: Electrons in the cell.
        counts: Atoms of each POTCAR.
        valences: ZVAL of each POTCAR.

    Returns:
        To three decimals, since some POTCARs round ZVAL; None if the three do not fit
        each other: no cell is charged by more than an electron an atom.
    """
    if nelect is None or not counts or len(counts) != len(valences):
        return None
    pairs = zip(counts, valences, strict=True)
    found = sum(n * z for n, z in pairs) - nelect
    return round(found, 3) + 0.0 if abs(found) <= sum(counts) else None


_OUTCAR_TAGS: tuple[tuple[str, str, type], ...] = (
    ("NELM", r"NELM\s*=\s*(\d+)", int),
    ("EDIFF", r"EDIFF\s*=\s*(\S+)\s", float),
    ("ENCUT", r"ENCUT\s*=\s*(\S+)\s+eV", float),
    ("ISPIN", r"ISPIN\s*=\s*(\d)", int),
    ("LNONCOLLINEAR", r"LNONCOLLINEAR\s*=\s*([TF])", bool),
    ("LSORBIT", r"LSORBIT\s*=\s*([TF])", bool),
    ("ISMEAR", r"ISMEAR\s*=\s*(-?\d+)", int),
    ("SIGMA", r"SIGMA\s*=\s*(-?[\d.]+)", float),
    ("GGA", r"(?m)^\s+GGA\s*=\s*(\S+)", str),
    ("METAGGA", r"METAGGA\s*=\s*(\S+)", str),
    ("LHFCALC", r"LHFCALC\s*=\s*([TF])", bool),
    ("AEXX", r"AEXX\s*=\s*(-?[\d.]+)", float),
    ("HFSCREEN", r"HFSCREEN\s*=\s*(-?[\d.]+)", float),
    ("LUSE_VDW", r"LUSE_VDW\s*=\s*\.?([TF])", bool),
    ("IVDW", r"(?m)^\s*IVDW\s*=\s*(\d+)", int),
    ("LVDW", r"(?m)^\s*LVDW\s*=\s*\.?([TF])", bool),
    ("ML_LMLFF", r"ML_LMLFF\s*=\s*\.?([TF])", bool),
    ("ISIF", r"ISIF\s*=\s*(\d+)", int),
    ("LASPH", r"LASPH\s*=\s*([TF])", bool),
    ("NELECT", r"NELECT\s*=\s*(\d+\.\d+)", float),
)


def theory_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Name the level of theory of a VASP calculation; keys as in ``THEORY_KEYS``."""
    ismear = settings.get("ISMEAR")
    smearing = None
    if ismear is not None:
        smearing = _SMEARINGS.get(ismear, f"methfessel-paxton-{ismear}")
    return {
        "code": "vasp",
        "code_version": settings.get("VERSION"),
        "functional": _functional(settings),
        "dispersion": _dispersion(settings),
        "hubbard_u": settings.get("HUBBARD"),
        "cutoff": settings.get("ENCUT"),
        "kpoints": settings.get("KPOINTS"),
        "smearing": smearing,
        "smearing_width": settings.get("SIGMA"),
        "spin": _spin(settings),
        "pseudopotentials": _pseudopotentials(settings.get("TITEL", [])),
        "energy_kind": "free_energy_TOTEN",
        "details": {"aspherical": settings.get("LASPH")},
    }


def kpoints(
    mesh: Sequence[int] | None, points: Sequence[Sequence[float]]
) -> dict[str, Any] | None:
    """Describe the k-points by their mesh and its shift, else by their number.

    Args:
        mesh: Divisions, if they were generated.
        points: Reciprocal coordinates and weight of each irreducible point.
    """
    if mesh is None or len(mesh) != 3 or not any(mesh):
        return _inferred(points)
    shift = []
    for axis, divisions in enumerate(mesh):
        scaled = [abs(point[axis] * divisions) % 1 for point in points]
        shift.append(int(any(abs(s - 0.5) < 0.01 for s in scaled)))
    return {"mesh": list(mesh), "shift": shift}


def _inferred(points: Sequence[Sequence[float]]) -> dict[str, Any] | None:
    """Describe points that the file does not say to be those of a mesh."""
    if not points:
        return None
    if all(len(point) == 4 for point in points):
        table = np.array(points)
        found = infer_mesh(table[:, :3], table[:, 3], tolerance=_PRINTED_POINT)
        if found is not None:
            return {"mesh": list(found[0]), "shift": list(found[1])}
    return {"count": len(points)}


def _integers(head: str, mark: str) -> list[int]:
    line = re.search(re.escape(mark) + r"([ \d]+)", head)
    return [int(word) for word in line[1].split()] if line else []


def _valences(head: str) -> list[float]:
    """ZVAL of each POTCAR; NWRITE = 0 leaves only the table, with two decimals."""
    found = re.findall(r"; ZVAL\s*=\s*(\d+\.\d+)", head)
    if not found:
        line = re.search(r"^\s*ZVAL\s*=([ \d.]+)$", head, re.M)
        found = re.findall(r"\d+\.\d\d", line[1]) if line else []
    return [float(word) for word in found]


def _value(text: str, kind: type) -> Any:
    if kind is bool:
        return text == "T"
    try:
        value = kind(text)
    except ValueError:
        return None
    # JSON has no NaN and no infinity
    return None if isinstance(value, float) and not isfinite(value) else value


def _points(text: str) -> list[list[float]]:
    rows = [re.findall(r"-?\d+\.\d+", line) for line in text.splitlines()]
    return [[float(word) for word in row[:4]] for row in rows if len(row) >= 3]


def _outcar_hubbard(head: str) -> dict[str, Any] | None:
    kind = re.search(r"LDAUTYPE\s*=\s*(\d)", head)
    if "LDA+U is selected" not in head:
        return {}
    if kind is None:
        return None
    columns = [
        re.search(rf"{tag}\s*=([-\d. ]+)", head) for tag in ("LDAUL", "LDAUU", "LDAUJ")
    ]
    words = [column[1].split() if column else [] for column in columns]
    return hubbard(kind[1], words, _titles(head))


def _titles(head: str) -> list[str]:
    """POTCAR titles; NWRITE = 0 leaves only the names, which are listed twice."""
    titles = re.findall(r"TITEL\s*=\s*(.*\S)", head)
    if not titles:
        names = re.findall(r"POTCAR:\s*(.*\S)", head)
        half = len(names) // 2
        titles = names[:half] if names[:half] == names[half:] else []
    return titles


def hubbard(
    kind: str, columns: Sequence[Sequence[str]], titles: Sequence[str]
) -> dict[str, Any]:
    """Describe +U by species: LDAUTYPE and, where l >= 0 and U or J act, their values.

    Args:
        kind: LDAUTYPE.
        columns: LDAUL, LDAUU and LDAUJ, one word a POTCAR.
        titles: POTCAR titles.

    Returns:
        Empty if +U acts on none.
    """
    out: dict[str, Any] = {}
    labels = species_labels(titles)
    for label, l_word, u_word, j_word in zip(labels, *columns, strict=False):
        values = [_value(word, float) for word in (l_word, u_word, j_word)]
        shell, u, j = (0.0 if value is None else value for value in values)
        if shell >= 0 and (u or j):
            out[label] = {"l": int(shell), "u": u, "j": j}
    return {"type": _value(kind, int), **without_repeats(out)} if out else {}


def _functional(settings: dict[str, Any]) -> str | None:
    titles = settings.get("TITEL") or [""]
    family = _POTCAR_FUNCTIONALS.get(titles[0].partition(" ")[0])
    gga = str(settings.get("GGA") or "--").upper()
    tag = family if gga == "--" else gga
    metagga = str(settings.get("METAGGA") or "F").upper()
    if metagga not in ("F", "T", "--", "NONE"):
        name = metagga
    elif tag is None:
        return None
    else:
        name = _FUNCTIONALS.get(tag, tag)
    if settings.get("LHFCALC"):
        screen = settings.get("HFSCREEN") or 0.0
        name += f" (AEXX {settings.get('AEXX') or 0.25:g}, HFSCREEN {screen:g})"
    return name


def _dispersion(settings: dict[str, Any]) -> str:
    if settings.get("LUSE_VDW"):
        return "vdW-DF"
    ivdw = settings.get("IVDW") or (1 if settings.get("LVDW") else 0)
    if ivdw:
        return _IVDW.get(ivdw, f"IVDW {ivdw}")
    return "unnamed" if settings.get("UNNAMED_VDW") else "none"


def _spin(settings: dict[str, Any]) -> str | None:
    if settings.get("LSORBIT"):
        return "spin-orbit"
    if settings.get("LNONCOLLINEAR"):
        return "noncollinear"
    ispin = settings.get("ISPIN")
    return {1: "none", 2: "collinear"}.get(ispin) if ispin is not None else None


def _pseudopotentials(titles: Sequence[str]) -> dict[str, Any]:
    """List titles alone: the hashes do not name the level (``potential_hashes``)."""
    plain = [" ".join(title.split()) for title in titles]
    found = {
        label: {"title": title, "hash": None}
        for label, title in zip(species_labels(plain), plain, strict=True)
    }
    return without_repeats(found)


def read_incar(path: Path) -> dict[str, Any]:
    """Read what OUTCAR rounds or leaves out: SIGMA and IVDW."""
    text = read_text(path)
    found: dict[str, Any] = {}
    sigma = re.search(r"(?im)^\s*SIGMA\s*=\s*([-+\d.eEdD]+)", text)
    ivdw = re.search(r"(?im)^\s*IVDW\s*=\s*(\d+)", text)
    if sigma is not None:
        found["SIGMA"] = _value(sigma[1].lower().replace("d", "e"), float)
    if ivdw is not None:
        found["IVDW"] = int(ivdw[1])
    return found
