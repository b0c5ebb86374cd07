"""The level of theory that an input of pw.x asks for, before anything is computed.

In the same words as the reader of its outputs, so that the two can be compared.
"""

import re
from pathlib import Path
from typing import Any

from dpbench.explore.labels.qe_input import Template
from dpbench.explore.labels.qe_pseudo import digests
from dpbench.io.readers.qe.theory import (
    dispersion_name,
    energy_kind,
    functional_name,
    smearing_name,
)
from dpbench.units import RYDBERG

CERTAIN = ("LDA-PZ", "LDA-PW", "PBE", "PBEsol", "revPBE")
"""Functionals that UPF files and outputs name alike; others are printed as indices."""

_FUNCTIONAL = re.compile(r"functional\s*=\s*\"([^\"]+)\"")
_HEADER = 200_000
_DENSITY = 4.0
"""Cut-off of the density over that of the waves, where the input tells none."""


def theory_of_template(template: Template, pseudo_dir: Path) -> dict[str, Any]:
    """Return what is certain; a key whose value the run decides is left out."""
    system = template.system
    waves = number(system.get("ecutwfc"))
    density = number(system.get("ecutrho"))
    if density is None and waves is not None:
        density = _DENSITY * waves
    files = {label: name for label, (_, name) in template.species.items()}
    hashes = digests(files, pseudo_dir)
    occupations = _word(system.get("occupations"), "fixed")
    is_smeared = occupations == "smearing"
    told: dict[str, Any] = {
        "code": "qe",
        "functional": _functional(template, pseudo_dir),
        "dispersion": dispersion_name(_word(system.get("vdw_corr"), "none")),
        "cutoff": None if waves is None else waves * RYDBERG,
        "cutoff_density": None if density is None else density * RYDBERG,
        "spin": _spin(system),
        "pseudopotentials": {
            label: {"title": name, "hash": hashes[label]}
            for label, name in files.items()
        },
        "energy_kind": energy_kind(is_smeared=is_smeared),
    }
    if is_smeared:
        told["smearing"] = smearing_name(_word(system.get("smearing"), "gaussian"))
        width = number(system.get("degauss"))
        told["smearing_width"] = None if width is None else width * RYDBERG
    return {key: value for key, value in told.items() if value is not None}


def number(text: str | None) -> float | None:
    """Read a number as Fortran writes it; None if it is none."""
    try:
        return None if text is None else float(text.lower().replace("d", "e"))
    except ValueError:
        return None


def _functional(template: Template, folder: Path) -> str | None:
    """Return the functional of the UPF files; None if it is not certain."""
    forced = template.system.get("input_dft")
    if forced is not None:
        return _certain({functional_name(_word(forced, ""))})
    found = set()
    for _, name in template.species.values():
        head = (folder / name).read_bytes()[:_HEADER].decode(errors="replace")
        match = _FUNCTIONAL.search(head)
        if match is None:
            return None
        found.add(functional_name(match[1]))
    return _certain(found)


def _certain(names: set[str]) -> str | None:
    """Return the one name of a functional, if the reader of outputs uses it too."""
    spelled = {name.casefold(): name for name in CERTAIN}
    return spelled.get(names.pop().casefold()) if len(names) == 1 else None


def _spin(system: dict[str, str]) -> str:
    if _word(system.get("lspinorb"), ".false.") == ".true.":
        return "spin-orbit"
    if _word(system.get("noncolin"), ".false.") == ".true.":
        return "noncollinear"
    return "collinear" if _word(system.get("nspin"), "1") == "2" else "none"


def _word(text: str | None, default: str) -> str:
    return default if text is None else text.strip("'\" ").lower()
