"""Input file of CP2K: the level of theory, where a log at print level LOW is silent."""

import re
from dataclasses import dataclass, field
from typing import Any

from dpbench.io.readers.tables import scaled, to_float
from dpbench.units import BOLTZMANN, HARTREE, RYDBERG

_SET = re.compile(r"^\s*@SET\s+(\w+)\s+(\S.*?)\s*$", re.I | re.M)
_LOGGED = {"BLYP": "BECKE88+LYP", "BP": "BECKE88+P86"}
"""What the log prints for a functional that the input names by a short form."""
_DEFAULTS = {"CUTOFF": "280", "REL_CUTOFF": "40"}
"""Ry, of &MGRID."""
_UNITS = {"ry": RYDBERG, "ev": 1.0, "hartree": HARTREE, "ha": HARTREE}
"""eV; units that a keyword may name in brackets."""
_OFF = ("F", ".FALSE.", "FALSE", "OFF", "NO")


@dataclass(slots=True)
class Section:
    """A section of the input; names in capitals, filled while the text is read."""

    name: str
    parameter: str = ""
    """What stands behind the section's name."""
    values: dict[str, str] = field(default_factory=dict)
    """The last value of every keyword."""
    sections: list["Section"] = field(default_factory=list)

    def find(self, *path: str) -> "Section | None":
        """Return the first section under ``path``."""
        here: Section | None = self
        for name in path:
            if here is None:
                return None
            here = next((s for s in here.sections if s.name == name), None)
        return here


def is_input(text: str) -> bool:
    """Whether a text is an input of CP2K."""
    return re.search(r"^\s*&FORCE_EVAL\b", text, re.I | re.M) is not None


def read_input(text: str) -> Section | None:
    """Read an input into its sections; None if it includes other files."""
    if re.search(r"^\s*@(INCLUDE|IF|XCTYPE)\b", text, re.I | re.M):
        return None
    for name, value in _SET.findall(text):
        text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
    root = Section(name="")
    open_sections = [root]
    for raw in text.splitlines():
        line = re.split(r"[!#]", raw, maxsplit=1)[0].strip()
        if not line or line.startswith("@"):
            continue
        word, _, rest = line.partition(" ")
        if word.upper().startswith("&END"):
            if len(open_sections) > 1:
                open_sections.pop()
        elif word.startswith("&"):
            section = Section(name=word[1:].upper(), parameter=rest.strip())
            open_sections[-1].sections.append(section)
            open_sections.append(section)
        else:
            open_sections[-1].values[word.upper()] = rest.strip()
    return root


def theory_of_input(text: str) -> dict[str, Any]:
    """Collect what an input tells of the level of theory; keys it leaves out too."""
    root = read_input(text)
    dft = None if root is None else root.find("FORCE_EVAL", "DFT")
    if root is None or dft is None:
        return {}
    qs = dft.find("QS")
    if qs is not None and qs.values.get("METHOD", "").upper() == "XTB":
        kind, width = _smearing(dft)
        return {
            "kpoints": _kpoints(dft),
            "spin": _spin(dft),
            "hubbard_u": {},
            "smearing": kind,
            "smearing_width": width,
        }
    subsys = root.find("FORCE_EVAL", "SUBSYS")
    kinds = [] if subsys is None else [s for s in subsys.sections if s.name == "KIND"]
    told: dict[str, Any] = {
        "functional": _functional(dft),
        "dispersion": _dispersion(dft),
        "hubbard_u": _hubbard(kinds),
        "cutoff": _cutoff(dft, "CUTOFF"),
        "rel_cutoff": _cutoff(dft, "REL_CUTOFF"),
        "basis": {
            kind.parameter: {
                "title": kind.values["BASIS_SET"].split()[-1],
                "hash": None,
            }
            for kind in kinds
            if kind.values.get("BASIS_SET")
        },
        "kpoints": _kpoints(dft),
        "smearing": _smearing(dft)[0],
        "smearing_width": _smearing(dft)[1],
        "spin": _spin(dft),
        "details": {"method": "GPW" if qs is None else qs.values.get("METHOD", "GPW")},
        "pseudopotentials": {
            kind.parameter: {
                "title": kind.values["POTENTIAL"].split()[-1],
                "hash": None,
            }
            for kind in kinds
            if kind.values.get("POTENTIAL")
        },
    }
    empty = ("basis", "pseudopotentials")
    return {
        key: value
        for key, value in told.items()
        if value is not None and (value or key not in empty)
    }


def electrons_of_input(text: str) -> tuple[float | None, int | None]:
    """Return total charge, e, and spin multiplicity; None where they are left out."""
    root = read_input(text)
    dft = None if root is None else root.find("FORCE_EVAL", "DFT")
    if dft is None:
        return None, None
    charge = scaled(dft.values.get("CHARGE", ""), 1.0)
    word = dft.values.get("MULTIPLICITY", dft.values.get("MULTIP", ""))
    return charge, int(word) if word.isdecimal() and int(word) > 0 else None


def _energy(text: str, *, unit: float) -> float | None:
    """Read an energy, eV, with the unit that it names in brackets or else ``unit``."""
    named = re.search(r"\[\s*(\w+)\s*\]", text)
    number = re.search(r"-?[\d.]+(?:[eEdD][-+]?\d+)?\s*$", text)
    if named is not None and named[1].lower() not in _UNITS:
        return None
    scale = unit if named is None else _UNITS[named[1].lower()]
    return scaled(number[0].strip(), scale) if number else None


def _cutoff(dft: Section, key: str) -> float | None:
    mgrid = dft.find("MGRID")
    text = "" if mgrid is None else mgrid.values.get(key, "")
    return _energy(text or _DEFAULTS[key], unit=RYDBERG)


def _hubbard(kinds: list[Section]) -> dict[str, Any]:
    found = {}
    for kind in kinds:
        section = kind.find("DFT_PLUS_U")
        if section is not None and section.parameter.upper() not in _OFF:
            value = _energy(section.values.get("U_MINUS_J", "0"), unit=HARTREE)
            found[kind.parameter] = {"U": value}
    return found


def _smearing(dft: Section) -> tuple[str, float | None]:
    section = dft.find("SCF", "SMEAR")
    if section is None or section.parameter.upper() in _OFF:
        return "none", None
    method = section.values.get("METHOD", "ENERGY_WINDOW").lower().replace("_", "-")
    text = section.values.get("ELECTRONIC_TEMPERATURE", section.values.get("TEMP", ""))
    number = re.search(r"[\d.]+$", text)
    is_kelvin = "[" not in text or "[K]" in text.upper()
    word = (number[0] if number else "300") if is_kelvin else ""
    return method, scaled(word, BOLTZMANN) if word else None


def _functional(dft: Section) -> str | None:
    xc = dft.find("XC", "XC_FUNCTIONAL")
    if xc is None:
        return None
    short = xc.parameter.upper()
    if short and short not in ("NO_SHORTCUT", "NONE"):
        names = [_LOGGED.get(short, short)]
    else:
        names = [
            s.values.get("FUNCTIONAL", s.name) if s.name == "LIBXC" else s.name
            for s in xc.sections
        ]
    exchange = dft.find("XC", "HF")
    if exchange is not None:
        names.append(f"HFX {to_float(exchange.values.get('FRACTION', '1')):g}")
    return "+".join(names) or None


def _dispersion(dft: Section) -> str | None:
    vdw = dft.find("XC", "VDW_POTENTIAL")
    if vdw is None:
        return "none"
    pair = vdw.find("PAIR_POTENTIAL") or vdw.find("NON_LOCAL")
    name = "" if pair is None else pair.values.get("TYPE", "").upper()
    return {
        "DFTD2": "DFT-D2",
        "DFTD3": "DFT-D3(zero)",
        "DFTD3(BJ)": "DFT-D3(BJ)",
    }.get(name, name or "unnamed")


def _kpoints(dft: Section) -> dict[str, Any] | None:
    kpoints = dft.find("KPOINTS")
    scheme = [] if kpoints is None else kpoints.values.get("SCHEME", "GAMMA").split()
    if not scheme or scheme[0].upper() in ("GAMMA", "NONE"):
        return {"mesh": [1, 1, 1], "shift": [0, 0, 0]}
    divisions = [int(word) for word in scheme[1:4] if word.isdigit()]
    if scheme[0].upper() != "MONKHORST-PACK" or len(divisions) != 3:
        return None
    # the Monkhorst-Pack scheme leaves out Gamma where a division is even
    return {"mesh": divisions, "shift": [int(n % 2 == 0) for n in divisions]}


def _spin(dft: Section) -> str:
    flags = ("UKS", "LSD", "UNRESTRICTED_KOHN_SHAM", "SPIN_POLARIZED", "ROKS")
    for flag in flags:
        value = dft.values.get(flag)
        if value is not None and value.upper() not in _OFF:
            return "collinear"
    return "none"
