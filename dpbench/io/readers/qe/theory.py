"""Level of theory of a pw.x calculation, from its output."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dpbench.io.readers.kmesh_theory import Mesh, infer_mesh
from dpbench.io.readers.tables import scaled, to_float
from dpbench.units import RYDBERG

_FUNCTIONALS: dict[tuple[int, ...], str] = {
    (1, 1, 0, 0): "LDA-PZ",
    (1, 4, 0, 0): "LDA-PW",
    (1, 4, 3, 4): "PBE",
    (1, 4, 4, 4): "revPBE",
    (1, 4, 10, 8): "PBEsol",
    (1, 4, 2, 2): "PW91",
    (1, 3, 1, 3): "BLYP",
    (6, 4, 8, 4): "PBE0",
    (7, 12, 9, 7): "B3LYP",
    (1, 4, 12, 4): "HSE",
}
"""One name for what pw.x versions print as PBE, 'SLA PW PBX PBC' or 'SLA PW PBE PBE':
indices of exchange, correlation and their gradient corrections."""

_NAMES = {
    "SLA PZ NOGX NOGC": "LDA-PZ",
    "PZ": "LDA-PZ",
    "LDA": "LDA-PZ",
    "SLA PW NOGX NOGC": "LDA-PW",
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "PBESOL": "PBEsol",
    "REVPBE": "revPBE",
    "SLA PW PSX PSC": "PBEsol",
}

_SMEARINGS = {
    "gaussian": "gaussian",
    "gauss": "gaussian",
    "methfessel-paxton": "methfessel-paxton",
    "mp": "methfessel-paxton",
    "marzari-vanderbilt": "marzari-vanderbilt",
    "mv": "marzari-vanderbilt",
    "cold": "marzari-vanderbilt",
    "fermi-dirac": "fermi-dirac",
    "fd": "fermi-dirac",
}

_VERSION = re.compile(r"Program PWSCF\s+v\.\s*(\S+)")
_XC = re.compile(r"Exchange-correlation\s*=([^(\n]*)\s*\(([\d\s]+)\)")
_EXX = re.compile(r"EXX-fraction\s*=\s*(\S+)")
_CUTOFF = re.compile(r"kinetic-energy cutoff\s*=\s*(\S+)\s+Ry")
_DENSITY = re.compile(r"charge density cutoff\s*=\s*(\S+)\s+Ry")
_ELECTRONS = re.compile(r"number of electrons\s*=\s*(\d+\.\d+)")
_VALENCE = re.compile(r"^\s+(\S+)\s+(\d+\.\d+)\s+\d+\.\d+\s+\S+\s*\(", re.M)
_KPOINTS = re.compile(r"number of k points=\s*(\d+)([^\n]*)")
_SMEARING = re.compile(r"(\S+) smearing, width \(Ry\)=\s*(\S+)")
_PSEUDO = re.compile(
    r"PseudoPot\. #\s*\d+ for\s+(\S+)\s+read from file:?\s+(\S+)"
    r"(?:\s+MD5 check sum:\s*([0-9a-f]{32}))?"
)
_HUBBARD_OLD = re.compile(
    r"^\s+([A-Z]\w*)\s+\d\s+(\d+\.\d+)(?:\s+-?\d+\.\d+){2,}", re.M
)
_HUBBARD_NEW = re.compile(
    r"^\s+([A-Z]\w*\d?)\(([A-Z][a-z]?\w*)-([^)]*)\)\s*=\s*(-?\d+\.\d+)", re.M
)
_DISPERSION = {
    "DFT-D3 Dispersion": "DFT-D3",
    "Dispersion XDM Correction": "XDM",
    "Dispersion T-S Correction": "TS",
    "Dispersion MBD Correction": "MBD",
    "Dispersion Correction  ": "DFT-D2",
}
_DISPERSION_TAGS = {
    "none": "none",
    "dft-d": "DFT-D2",
    "grimme-d2": "DFT-D2",
    "dft-d3": "DFT-D3",
    "grimme-d3": "DFT-D3",
    "xdm": "XDM",
    "ts": "TS",
    "ts-vdw": "TS",
    "tkatchenko-scheffler": "TS",
    "mbd": "MBD",
    "mbd_vdw": "MBD",
    "many-body dispersion": "MBD",
}
"""Values of ``vdw_corr``, and one name for each correction."""
_K = re.compile(
    r"k\(\s*\d+\) = \(\s*(-?[\d.]+)\s*(-?[\d.]+)\s*(-?[\d.]+)\s*\), wk =\s*([\d.]+)"
)
_AXIS = re.compile(r"a\([123]\) = \(\s*(\S+)\s+(\S+)\s+(\S+)\s*\)")
_MESH_TOLERANCE = 2e-5
"""Crystal coordinates of k-points made from seven printed decimals."""


def code_version(text: str) -> str | None:
    """Return the version as the banner prints it."""
    match = _VERSION.search(text)
    return match[1] if match else None


def theory_of_output(run: str, *, mesh: Mesh | None) -> dict[str, Any]:
    """Collect the level of theory that the output of one run declares.

    Args:
        run: The output, from its banner.
        mesh: The automatic mesh if the input tells it; else it is inferred from the
            printed k-points where they leave no doubt.

    Returns:
        Plain JSON values under ``THEORY_KEYS``.
    """
    scf = run.find("Self-consistent Calculation")
    head = run[: scf if scf >= 0 else len(run)]
    count = _at(_KPOINTS, "number of k points=", head)
    smearing = _SMEARING.search(count[2]) if count else None
    cutoff = _at(_CUTOFF, "kinetic-energy cutoff", head)
    density = _at(_DENSITY, "charge density cutoff", head)
    return {
        "code": "qe",
        "code_version": code_version(head),
        "functional": _functional(head),
        "dispersion": _dispersion(run, len(head)),
        "hubbard_u": _hubbard(head),
        "cutoff": scaled(cutoff[1], RYDBERG) if cutoff else None,
        "cutoff_density": scaled(density[1], RYDBERG) if density else None,
        "kpoints": _kpoints(head, count, mesh),
        "smearing": _smearing(smearing, count),
        "smearing_width": scaled(smearing[2], RYDBERG) if smearing else None,
        "spin": _spin(head),
        "pseudopotentials": {
            species: {
                "title": path.rpartition("/")[2],
                "hash": f"md5:{md5}" if md5 else None,
            }
            for species, path, md5 in _PSEUDO.findall(head)
        },
        "energy_kind": energy_kind(is_smeared=smearing is not None),
    }


def pseudopotential_hashes(text: str) -> dict[str, str]:
    """Return the check sums that an output prints, by species; ``md5:...``."""
    return {name: f"md5:{md5}" for name, _, md5 in _PSEUDO.findall(text) if md5}


def charge_of(head: str, labels: Sequence[str]) -> float | None:
    """Return the charge of the cell, e: valence electrons of its atoms less the rest.

    Args:
        head: The output up to the first SCF.
        labels: (atom), species.

    Returns:
        To two decimals, as pw.x prints them; None if they are not there, or belong to
        other atoms: no cell is charged by more than an electron an atom.
    """
    printed = _ELECTRONS.search(head)
    start = head.find("atomic species   valence")
    table = head[start : start + 200 * (1 + len(set(labels)))] if start >= 0 else ""
    valence = {label: to_float(value) for label, value in _VALENCE.findall(table)}
    if printed is None or not set(labels) <= valence.keys():
        return None
    charge = sum(valence[label] for label in labels) - to_float(printed[1])
    return round(charge, 2) + 0.0 if abs(charge) <= len(labels) else None


def _smearing(smearing: re.Match[str] | None, count: re.Match[str] | None) -> str:
    if smearing is not None:
        return smearing_name(smearing[1])
    is_tetrahedron = count is not None and "tetrahedr" in count[2].lower()
    return "tetrahedron" if is_tetrahedron else "none"


def _at(pattern: re.Pattern[str], needle: str, text: str) -> re.Match[str] | None:
    """Match ``pattern`` where ``needle`` first stands: far faster than a search."""
    at = text.find(needle)
    return pattern.match(text, at) if at >= 0 else None


def energy_kind(*, is_smeared: bool) -> str:
    """Name the '!' energy: with smearing it is the free energy E - TS."""
    return "free energy" if is_smeared else "total energy"


def smearing_name(printed: str) -> str:
    """Return one name for the spellings of output, input and XML."""
    return _SMEARINGS.get(printed.lower(), printed.lower())


def dispersion_name(tag: str | None) -> str:
    """Return one name for a correction that input or XML names; "none" without one."""
    word = (tag or "none").strip().lower()
    return _DISPERSION_TAGS.get(word, word)


def functional_name(printed: str) -> str:
    """Return one name for a functional printed without its indices."""
    words = " ".join(printed.split())
    return _NAMES.get(words.upper(), words)


def _functional(head: str) -> str | None:
    # an enforced functional is announced first, the one in use comes last
    at = head.rfind("Exchange-correlation")
    match = _XC.match(head, at) if at >= 0 else None
    if match is None:
        return None
    indices = tuple(int(word) for word in match[2].split())
    is_plain = len(indices) >= 4 and not any(indices[4:])
    name = _FUNCTIONALS.get(indices[:4]) if is_plain else None
    exx = _at(_EXX, "EXX-fraction", head)
    suffix = f" (EXX {exx[1]})" if exx else ""
    return (name or functional_name(match[1])) + suffix


def _dispersion(run: str, scf: int) -> str | None:
    """Name the dispersion correction, which the terms of the first energy show."""
    start = run.find("\n!", scf)
    stop = run.find("onvergence has been achieved", max(start, 0))
    terms = run[start:stop] if 0 <= start < stop else ""
    if not terms:
        return None
    names = (name for mark, name in _DISPERSION.items() if mark in terms)
    return next(names, "unnamed" if "ispersion" in terms else "none")


def hubbard_of(
    values: Sequence[tuple[str, str, float | None]],
) -> dict[str, dict[str, float | None]]:
    """Describe +U by species.

    Args:
        values: Species, name of the parameter and its value, eV.

    Returns:
        {species: {parameter: eV}}; parameters of a second manifold are numbered.
    """
    found: dict[str, dict[str, float | None]] = {}
    for species, name, value in values:
        mine = found.setdefault(species, {})
        number = 1 + sum(key.rstrip("0123456789") == name for key in mine)
        mine[name if number == 1 else f"{name}{number}"] = value
    return found


def _hubbard(head: str) -> dict[str, dict[str, float | None]]:
    start = max(head.find("LDA+U calculation"), head.find("Hubbard parameters of"))
    if start < 0:
        return {}
    section = head[start : start + 4000].split("\n\n", 1)[0]
    old = [(name, "U", float(u)) for name, u in _HUBBARD_OLD.findall(section)]
    new = [
        (name, kind if kind == "U" else f"{kind}({rest})", float(value))
        for kind, name, rest, value in _HUBBARD_NEW.findall(section)
    ]
    return hubbard_of(old or new)


def _spin(head: str) -> str:
    if "calculation with spin-orbit" in head:
        return "spin-orbit"
    if "oncollinear calculation" in head:
        return "noncollinear"
    return "collinear" if "Starting magnetic structure" in head else "none"


def _kpoints(
    head: str, count: re.Match[str] | None, mesh: Mesh | None
) -> dict[str, Any] | None:
    if mesh is None and count is not None:
        mesh = _infer_mesh(head, count.end())
    if mesh is not None:
        return {"mesh": list(mesh[0]), "shift": list(mesh[1])}
    return {"count": int(count[1])} if count else None


def _infer_mesh(head: str, start: int) -> Mesh | None:
    """Find the Monkhorst-Pack mesh behind the printed k-points; None if in doubt."""
    stop = head.find("cryst. coord.", start)
    rows = _K.findall(head[start : stop if stop > 0 else len(head)])
    axes = _AXIS.findall(head)[:3]
    if not rows or len(axes) < 3:
        return None
    if len(rows) == 1 and not any(map(to_float, rows[0][:3])):
        return (1, 1, 1), (0, 0, 0)
    table = np.array([[to_float(word) for word in row] for row in rows])
    cell = np.array([[to_float(word) for word in axis] for axis in axes])
    # k (2 pi / alat) times a (alat) gives crystal coordinates
    crystal = np.stack([(table[:, :3] * axis).sum(axis=1) for axis in cell], axis=1)
    return infer_mesh(crystal, table[:, 3], tolerance=_MESH_TOLERANCE)
