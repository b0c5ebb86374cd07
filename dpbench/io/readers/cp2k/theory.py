"""Level of theory of a CP2K calculation, from its log."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpbench.errors import SourceError
from dpbench.io.parsed import ParsedSource
from dpbench.io.readers.cp2k.input import electrons_of_input, theory_of_input
from dpbench.io.readers.tables import scaled, to_float
from dpbench.io.readers.told_theory import charges, multiplicities
from dpbench.store.theory.mixture import compatibility, show
from dpbench.units import BOLTZMANN, HARTREE

_VERSION = re.compile(r"CP2K\| version string:\s+CP2K version (\S+)")
_FUNCTIONAL = re.compile(r"^ FUNCTIONAL\| ([\w+-]+(?: [\w+-]+)*):\s*$", re.M)
_HFX = re.compile(r"HFX_INFO\| FRACTION:\s+(\S+)")
_VDW = re.compile(r"vdW POTENTIAL\|\s+(DFT-D\d(?:\(BJ\))?|DFTD4|D4|Grimme \w+)", re.I)
_NONLOCAL = re.compile(r"vdW POTENTIAL\|\s+(\S.*?)\s{2,}\S|vdW POTENTIAL\|\s+(RVV10)")
_CUTOFF = re.compile(r"QS\| Density cutoff \[a\.u\.\]:\s+(\S+)")
_REL_CUTOFF = re.compile(r"QS\| Relative density cutoff \[a\.u\.\]:\s+(\S+)")
_METHOD = re.compile(r"^ QS\| Method:\s+(\S+)", re.M)
_CHARGE = re.compile(r"^ DFT\| Charge\s+(-?\d+)\s*$", re.M)
_MULTIPLICITY = re.compile(r"^ DFT\| Multiplicity\s+(\d+)\s*$", re.M)
_KIND = re.compile(r"^ +\d+\. Atomic kind: (\S+) ", re.M)
_BASIS = re.compile(r"Orbital Basis Set\s+(\S+)")
_POTENTIAL = re.compile(r"(GTH|AE|ECP|SGP) Potential information for\s+(\S+)")
_MESH = re.compile(r"BRILLOUIN\| K-Point grid\s+(\d+)\s+(\d+)\s+(\d+)")
_KCOUNT = re.compile(r"BRILLOUIN\| List of Kpoints \[.*\]\s+(\d+)")
_SMEAR = re.compile(r"Smear method:\s+(\S+)")
_TEMPERATURE = re.compile(r"Electronic temperature \[K\]:\s+(\S+)")
_HUBBARD = re.compile(r"U\(eff\)[^\n]*\[eV\]:?\s+(\S+)")
_XTB = ("xTB|", "DFTB3 3rd order energy", "Correction for halogen bonding")
"""What only a GFN-xTB run prints; the first at print level MEDIUM, others always."""


def code_version(text: str) -> str | None:
    """Return the version as the banner prints it, e.g. ``2023.1``."""
    match = _VERSION.search(text)
    return match[1] if match else None


def theory_of_log(text: str, *, input_text: str | None = None) -> dict[str, Any]:
    """Collect the level of theory that a log declares.

    At print level LOW a log tells little of it; what it does not tell comes from the
    input, else it is None.

    Args:
        text: The log.
        input_text: The input that lies beside; None if there is none.

    Returns:
        Plain JSON values under ``THEORY_KEYS``.
    """
    first = text.find("ENERGY| Total FORCE_EVAL")
    head = text[: first if first >= 0 else len(text)]
    is_xtb = any(mark in head for mark in _XTB)
    cutoff, relative = _CUTOFF.search(head), _REL_CUTOFF.search(head)
    method = _METHOD.search(head)
    smear = _SMEAR.search(head)
    temperature = _TEMPERATURE.search(head)
    width = scaled(temperature[1], BOLTZMANN) if temperature else None
    basis, potentials = ({}, {}) if is_xtb else _kinds(head)
    theory = {
        "code": "cp2k",
        "code_version": code_version(head),
        "functional": _xtb_name(head) if is_xtb else _functional(head),
        "dispersion": None if is_xtb else _dispersion(head),
        "hubbard_u": _hubbard(head),
        # a.u. of a plane-wave cutoff is hartree: CUTOFF 240 [Ry] prints 120.0
        "cutoff": scaled(cutoff[1], HARTREE) if cutoff and not is_xtb else None,
        "rel_cutoff": scaled(relative[1], HARTREE) if relative and not is_xtb else None,
        "basis": basis or None,
        "kpoints": _kpoints(head),
        "smearing": _smearing(head, smear),
        "smearing_width": width if smear else None,
        "spin": _spin(head),
        "pseudopotentials": potentials or None,
        "details": {"method": method[1]} if method and not is_xtb else None,
    }
    told = {} if input_text is None else theory_of_input(input_text)
    silent = [key for key, value in theory.items() if value is None]
    theory |= {key: told[key] for key in silent if key in told}
    return theory | {"energy_kind": _energy_kind(theory["smearing"])}


def with_electrons(
    source: ParsedSource, text: str, *, input_text: str | None = None
) -> ParsedSource:
    """Give every frame the charge and multiplicity that log or input tell."""
    charge, multiplicity = electrons_of(text, input_text=input_text)
    n = source.frames.nframes
    return replace(
        source, charge=charges(n, charge), multiplicity=multiplicities(n, multiplicity)
    )


def refuse_changed_settings(logs: Sequence[tuple[Path, str]]) -> None:
    """Check that the logs of one trajectory are of one level of theory.

    Raises:
        SourceError: Naming what a restart computes otherwise.
    """
    first = theory_of_log(logs[0][1])
    for path, text in logs[1:]:
        found = compatibility(first, theory_of_log(text))
        if found:
            words = ", ".join(
                f"{d.key} from {show(d.one)} to {show(d.other)}" for d in found
            )
            raise SourceError(
                f"{path}: continues the trajectory of {logs[0][0].name} and changes "
                f"{words}; expected one level of theory. Put them into folders of "
                "their own."
            )


def electrons_of(
    text: str, *, input_text: str | None = None
) -> tuple[float | None, int | None]:
    """Return total charge, e, and spin multiplicity; None where neither file tells."""
    first = text.find("ENERGY| Total FORCE_EVAL")
    head = text[: first if first >= 0 else len(text)]
    told = (None, None) if input_text is None else electrons_of_input(input_text)
    charge, multiplicity = _CHARGE.search(head), _MULTIPLICITY.search(head)
    return (
        float(charge[1]) if charge else told[0],
        int(multiplicity[1]) if multiplicity else told[1],
    )


def _smearing(head: str, smear: re.Match[str] | None) -> str | None:
    if smear is not None:
        return smear[1].lower().replace("_", "-")
    return None if _is_silent(head) else "none"


def _energy_kind(smearing: Any) -> str | None:
    if smearing is None:
        return None
    return "total energy" if smearing == "none" else "free energy"


def _xtb_name(head: str) -> str:
    """Name the tight-binding model; its dispersion is part of it."""
    match = re.search(r"GFN([02])-?xTB", head, re.I)
    return f"GFN{match[1]}-xTB" if match else "GFN1-xTB"


def _functional(head: str) -> str | None:
    names = dict.fromkeys(_FUNCTIONAL.findall(head))
    exchange = _HFX.search(head)
    if exchange is not None:
        names[f"HFX {to_float(exchange[1]):g}"] = None
    return "+".join(names) or None


def _dispersion(head: str) -> str | None:
    start = head.find("vdW POTENTIAL|")
    if start < 0:
        return None if _is_silent(head) else "none"
    section = head[start : start + 1500]
    found = _VDW.search(section)
    if found is None:
        other = _NONLOCAL.search(section)
        name = next((g for g in other.groups() if g), None) if other else None
        return name or "unnamed"
    name = found[1].upper()
    if "BJ Damping" in section:
        return name + "(BJ)"
    return name + "(zero)" if "Zero Damping" in section else name


def _kinds(head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return basis set and potential of every atomic kind."""
    marks = list(_KIND.finditer(head))
    stops = [*(mark.start() for mark in marks[1:]), len(head)][: len(marks)]
    basis, potentials = {}, {}
    for mark, stop in zip(marks, stops, strict=True):
        kind = mark[1]
        orbital = _BASIS.search(head, mark.end(), stop)
        potential = _POTENTIAL.search(head, mark.end(), stop)
        if orbital is not None:
            basis[kind] = {"title": orbital[1], "hash": None}
        if potential is not None:
            is_all = potential[1] == "AE"
            title = "all-electron" if is_all else potential[2]
            potentials[kind] = {"title": title, "hash": None}
    return basis, potentials


def _kpoints(head: str) -> dict[str, Any] | None:
    mesh = _MESH.search(head)
    if mesh is not None:
        divisions = [int(n) for n in mesh.groups()]
        # the Monkhorst-Pack scheme leaves out Gamma where a division is even
        is_plain = re.search(r"K-point scheme\s+Monkhorst-Pack", head) is not None
        shift = [int(is_plain and n % 2 == 0) for n in divisions]
        return {"mesh": divisions, "shift": shift}
    count = _KCOUNT.search(head)
    if count is not None:
        return {"count": int(count[1])}
    # a silent log does not name its k-points, Gamma or not
    return None if _is_silent(head) else {"mesh": [1, 1, 1], "shift": [0, 0, 0]}


def _is_silent(head: str) -> bool:
    match = re.search(r"GLOBAL\| Global print level\s+(\w+)", head)
    return match is not None and match[1] in ("LOW", "SILENT")


def _spin(head: str) -> str | None:
    match = re.search(r"DFT\| .*\b(RKS|UKS|ROKS|LSD)\s*$", head, re.M)
    if match is None:
        return None if _is_silent(head) else "none"
    return "none" if match[1] == "RKS" else "collinear"


def _hubbard(head: str) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for mark in _HUBBARD.finditer(head):
        kinds = [kind[1] for kind in _KIND.finditer(head, 0, mark.start())]
        values[kinds[-1] if kinds else "?"] = {"U": scaled(mark[1], 1.0)}
    if values:
        return values
    return None if _is_silent(head) else {}
