"""Level of theory of a pw.x calculation, from its output."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
_KPOINTS = re.compile(r"number of k points=\s*(\d+)([^\n]*)")
_SMEARING = re.compile(r"(\S+) smearing, width \(Ry\)=\s*(\S+)")
_PSEUDO = re.compile(
    r"PseudoPot\. #\s*\d+ for\s+(\S+)\s+read from file:?\s+(\S+)"
    r"(?:\s+MD5 check sum:\s*([0-9a-f]{32}))?"
)
_HUBBARD_OLD = re.compile(
    r"^\s+([A-Z]\w*)\s+\d\s+(\d+\.\d+)(?:\s+-?\d+\.\d+){2,}", re.M
)
_HUBBARD_NEW = re.compile(r"^\s+([UVJ]\d?\([^)]*\))\s*=\s*(-?\d+\.\d+)", re.M)
_DISPERSION = {
    "DFT-D3 Dispersion": "DFT-D3",
    "Dispersion XDM Correction": "XDM",
    "Dispersion T-S Correction": "TS",
    "Dispersion MBD Correction": "MBD",
    "Dispersion Correction  ": "DFT-D2",
}
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


def theory_of_output(
    run: str, *, mesh: tuple[tuple[int, ...], tuple[int, ...]] | None
) -> dict[str, Any]:
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
    return {
        "code": "qe",
        "code_version": code_version(head),
        "functional": _functional(head),
        "dispersion": _dispersion(run, len(head)),
        "hubbard_u": _hubbard(head),
        "cutoff": scaled(cutoff[1], RYDBERG) if cutoff else None,
        "basis": None,
        "kpoints": _kpoints(head, count, mesh),
        "smearing": smearing_name(smearing[1]) if smearing else "none",
        "smearing_width": scaled(smearing[2], RYDBERG) if smearing else None,
        "spin": _spin(head),
        "pseudopotentials": {
            species: {"title": path.rpartition("/")[2], "hash": md5 or None}
            for species, path, md5 in _PSEUDO.findall(head)
        },
        "energy_kind": energy_kind(is_smeared=smearing is not None),
    }


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
    if "ispersion" not in terms:
        return None
    return next((name for mark, name in _DISPERSION.items() if mark in terms), None)


def _hubbard(head: str) -> dict[str, float] | None:
    start = max(head.find("LDA+U calculation"), head.find("Hubbard parameters of"))
    if start < 0:
        return None
    section = head[start : start + 4000].split("\n\n", 1)[0]
    pairs = _HUBBARD_OLD.findall(section) or _HUBBARD_NEW.findall(section)
    return {name.replace(" ", ""): float(value) for name, value in pairs} or None


def _spin(head: str) -> str:
    if "calculation with spin-orbit" in head:
        return "spin-orbit"
    if "oncollinear calculation" in head:
        return "noncollinear"
    return "collinear" if "Starting magnetic structure" in head else "none"


def _kpoints(
    head: str,
    count: re.Match[str] | None,
    mesh: tuple[tuple[int, ...], tuple[int, ...]] | None,
) -> dict[str, Any] | None:
    if mesh is None and count is not None:
        mesh = _infer_mesh(head, count.end())
    if mesh is not None:
        return {"mesh": list(mesh[0]), "shift": list(mesh[1])}
    return {"count": int(count[1])} if count else None


def _infer_mesh(
    head: str, start: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
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
    divisions, shifts = [], []
    for column in crystal.T:
        found = _divisions(column)
        if found is None:
            return None
        divisions.append(found[0])
        shifts.append(found[1])
    weights = table[:, 3] / table[:, 3].sum()
    # symmetry may leave no point off an axis: then try that axis like the finest one
    finest = max(divisions)
    raised = [
        finest if n == 1 and s == 0 else n
        for n, s in zip(divisions, shifts, strict=True)
    ]
    for trial in (divisions, raised):
        share = weights * np.prod(trial)
        # every point stands for a whole number of mesh points
        if np.abs(share - np.rint(share)).max() < 1e-3 and share.min() > 0.5:
            return tuple(trial), tuple(shifts)
    return None


def _divisions(column: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return the fewest divisions (and the shift, 0 or 1) that hold all values."""
    for n in range(1, 65):
        for shift in (0, 1):
            offset = column * n - 0.5 * shift
            if np.abs(offset - np.rint(offset)).max() < _MESH_TOLERANCE * n:
                return n, shift
    return None
