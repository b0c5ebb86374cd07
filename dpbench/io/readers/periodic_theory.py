"""Level of theory of ABACUS, FHI-aims and SIESTA, as far as they print it plainly."""

import re
from pathlib import Path
from typing import Any

from dpbench.errors import SourceError
from dpbench.io.readers.tables import scaled
from dpbench.io.readers.told_theory import Told
from dpbench.io.text import read_text
from dpbench.units import RYDBERG

_AIMS_FUNCTIONALS = {
    "pw-lda": "LDA-PW",
    "pz-lda": "LDA-PZ",
    "pbe": "PBE",
    "pbesol": "PBEsol",
    "revpbe": "revPBE",
    "rpbe": "RPBE",
    "scan": "SCAN",
}
_AIMS_DISPERSION = {
    "vdw_correction_hirshfeld": "TS",
    "many_body_dispersion": "MBD",
    "many_body_dispersion_nl": "MBD-NL",
}
_OCCUPATIONS = {
    "gaussian": "gaussian",
    "gauss": "gaussian",
    "fermi": "fermi-dirac",
    "fd": "fermi-dirac",
    "fermi-dirac": "fermi-dirac",
    "methfessel-paxton": "methfessel-paxton",
    "mp": "methfessel-paxton",
    "marzari-vanderbilt": "marzari-vanderbilt",
    "mv": "marzari-vanderbilt",
    "fixed": "none",
}
_SPINS = {"1": "none", "2": "collinear", "4": "noncollinear"}


def abacus(text: str, *, folder: Path) -> Told:
    """Scan the log of an ABACUS task, and INPUT, KPT and STRU in its folder."""
    given = _input_parameters(_beside(folder / "INPUT"))
    wave = re.search(r"energy cutoff for wavefunc \(unit:Ry\)\s*=\s*(\S+)", text)
    dense = re.search(
        r"energy cutoff for charge/potential \(unit:Ry\)\s*=\s*(\S+)", text
    )
    spin = re.search(r"^\s*nspin\s*=\s*(\d)", text, re.M)
    cutoff = wave[1] if wave else given.get("ecutwfc", "")
    smearing = given.get("smearing_method") or given.get("smearing")
    width = given.get("smearing_sigma") or given.get("sigma") or ""
    kind = _OCCUPATIONS.get((smearing or "").lower(), smearing)
    potentials, basis = _stru_files(_beside(folder / "STRU"))
    return Told(
        theory={
            "functional": _abacus_functional(text, given.get("dft_functional", "")),
            "dispersion": given.get("vdw_method", "none") if given else None,
            "cutoff": scaled(cutoff, RYDBERG) if cutoff else None,
            "cutoff_density": scaled(dense[1], RYDBERG) if dense else None,
            "basis": basis or None,
            "kpoints": _kpt(_beside(folder / "KPT"), given),
            "smearing": kind or None,
            "smearing_width": scaled(width, RYDBERG)
            if width and kind not in (None, "none")
            else None,
            "spin": _SPINS.get(spin[1]) if spin else None,
            "pseudopotentials": potentials or None,
            "details": {"basis_type": given.get("basis_type", "pw")} if given else None,
        }
    )


def _beside(path: Path) -> str:
    try:
        return read_text(path) if path.is_file() else ""
    except SourceError:
        return ""


def _input_parameters(text: str) -> dict[str, str]:
    pairs = re.findall(r"(?m)^\s*([A-Za-z_]\w*)[ \t]+([^\s#/]+)", text)
    return {key.lower(): value for key, value in pairs}


def _abacus_functional(text: str, given: str) -> str | None:
    """Return the functional in use: that of INPUT, else what the potentials bring.

    None if the potentials bring several.
    """
    updated = re.findall(r"XC functional updated to :\s*(\S+)", text)
    if not updated and given.lower() not in ("", "default"):
        updated = [given]
    if not updated:
        updated = re.findall(r"exchange-correlation functional =\s*(\S+)", text)
        updated += re.findall(r"functional Ex =\s*(\S+)", text)
    names = {str(name).upper() for name in updated}
    if len(names) != 1:
        return None
    (name,) = names
    return {"PZ": "LDA-PZ", "LDA": "LDA-PZ"}.get(name, name)


def _stru_files(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return pseudopotential and orbital file of each species of a STRU."""
    blocks = re.split(r"(?m)^\s*([A-Z_]{4,})\s*$", text)
    cards = dict(zip(blocks[1::2], blocks[2::2], strict=False))
    species = [line.split() for line in cards.get("ATOMIC_SPECIES", "").splitlines()]
    species = [words for words in species if len(words) >= 3]
    orbitals = cards.get("NUMERICAL_ORBITAL", "").split()
    potentials = {
        words[0]: {"title": words[2].rpartition("/")[2], "hash": None}
        for words in species
    }
    if len(orbitals) != len(species):
        return potentials, {}
    basis = {
        words[0]: {"title": orbital.rpartition("/")[2], "hash": None}
        for words, orbital in zip(species, orbitals, strict=True)
    }
    return potentials, basis


def _kpt(text: str, given: dict[str, str]) -> dict[str, Any] | None:
    if given.get("gamma_only") == "1":
        return {"mesh": [1, 1, 1], "shift": [0, 0, 0]}
    found = re.search(
        r"(?i)K_POINTS\s+0\s+(Gamma|MP|Monkhorst-Pack)\s+(\d+)\s+(\d+)\s+(\d+)", text
    )
    if found is None:
        return None
    mesh = [int(found[i]) for i in (2, 3, 4)]
    # the Monkhorst-Pack scheme leaves out Gamma where a division is even
    is_plain = found[1].lower() != "gamma"
    return {"mesh": mesh, "shift": [int(is_plain and n % 2 == 0) for n in mesh]}


def fhi_aims(text: str, _elements: tuple[str, ...]) -> Told:
    """Scan an output of FHI-aims, which repeats its control.in."""
    head = text[: max(text.find("Begin self-consistency loop"), 0) or len(text)]

    def keyword(name: str) -> str | None:
        found = re.search(rf"(?m)^\s+{name}[ \t]+(\S[^\n#]*)", head)
        return found[1].strip() if found else None

    xc = (keyword("xc") or "").split()
    grid = re.search(r"Found k-point grid:\s+(\d+)\s+(\d+)\s+(\d+)", head)
    occupation = re.search(
        r"Occupation type:\s+(\S+) broadening, width =\s*(\S+) eV", head
    )
    charge = re.search(r"^\s+Charge =\s*(\S+?):", head, re.M)
    spin = re.search(r"Spin treatment: (No spin|Spin density)", head)
    flags = set(re.findall(r"(?m)^\s+(\w+)", head))
    vdw = [name for key, name in _AIMS_DISPERSION.items() if key in flags]
    smearing = occupation[1].lower() if occupation else ""
    relativistic = keyword("relativistic")
    return Told(
        theory={
            "functional": _AIMS_FUNCTIONALS.get(xc[0], xc[0].upper()) if xc else None,
            "dispersion": ("+".join(vdw) or "none") if xc else None,
            "kpoints": {"mesh": [int(n) for n in grid.groups()]} if grid else None,
            "smearing": _OCCUPATIONS.get(smearing, smearing) or None,
            "smearing_width": scaled(occupation[2], 1.0) if occupation else None,
            "spin": {"No spin": "none", "Spin density": "collinear"}.get(spin[1])
            if spin
            else None,
            "details": {"relativistic": relativistic} if relativistic else None,
        },
        charge=scaled(charge[1], 1.0) if charge else None,
    )


def siesta(text: str, _elements: tuple[str, ...]) -> Told:
    """Scan an output of SIESTA, which repeats its fdf input."""
    head = text[: max(text.find("outcoor:"), 0) or len(text)]

    def fdf(name: str) -> str | None:
        found = re.search(rf"(?im)^\s*{name}\s+(\S+)", head)
        return found[1] if found else None

    family, authors = fdf(r"xc[._-]?functional"), fdf(r"xc[._-]?authors")
    mesh = re.search(r"Mesh Cutoff\s*=\s*(\S+)\s+Ry", head)
    width = re.search(r"Electronic Temperature\s*=\s*(\S+)\s+Ry", head)
    charge = re.search(r"Net charge of the system\s*=\s*(\S+)", head)
    files = re.findall(
        r"pseudopotential information in formatted form from (\S+)", head
    )
    return Told(
        theory={
            "functional": _siesta_functional(family, authors),
            "cutoff_density": scaled(mesh[1], RYDBERG) if mesh else None,
            "kpoints": _siesta_mesh(text),
            # occupations are Fermi-Dirac unless the input says otherwise
            "smearing": "fermi-dirac"
            if width and fdf("OccupationFunction") in (None, "FD")
            else None,
            "smearing_width": scaled(width[1], RYDBERG) if width else None,
            "spin": _siesta_spin(head),
            "pseudopotentials": {
                Path(file).stem: {"title": Path(file).name, "hash": None}
                for file in files
            }
            or None,
        },
        charge=scaled(charge[1], 1.0) if charge else None,
    )


def _siesta_functional(family: str | None, authors: str | None) -> str | None:
    if family is None or authors is None:
        return None
    if family.upper() in ("LDA", "LSD"):
        name = {"CA": "PZ", "PZ": "PZ", "PW92": "PW"}.get(authors.upper(), authors)
        return f"LDA-{name}"
    return f"vdW-DF {authors.upper()}" if family.upper() == "VDW" else authors


def _siesta_mesh(text: str) -> dict[str, Any] | None:
    at = text.find("k-grid: Supercell and displacements")
    if at < 0:
        return None
    rows = re.findall(
        r"siesta: k-grid:\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+\.\d+)",
        text[at : at + 400],
    )[:3]
    if len(rows) < 3:
        return None
    is_diagonal = all(
        int(row[j]) == 0 for i, row in enumerate(rows) for j in range(3) if i != j
    )
    if not is_diagonal:
        return None
    return {
        "mesh": [int(row[i]) for i, row in enumerate(rows)],
        "shift": [int(abs(float(row[3]) - 0.5) < 1e-3) for row in rows],
    }


def _siesta_spin(head: str) -> str | None:
    new = re.search(r"redata: Spin configuration\s*=\s*(\S+)", head)
    if new is not None:
        names = {"none": "none", "polarized": "collinear"}
        return names.get(new[1].lower(), new[1].lower())
    flags = re.findall(
        r"redata: (Non-Collinear-spin|SpinPolarized \(Up/Down\)) run\s*=\s*([TF])", head
    )
    told = {name: flag == "T" for name, flag in flags}
    if len(told) < 2:
        return None
    if told["Non-Collinear-spin"]:
        return "noncollinear"
    return "collinear" if told["SpinPolarized (Up/Down)"] else "none"
