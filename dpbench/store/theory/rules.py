"""When two levels of theory agree: a table of rules, one small function each.

A rule picks from a level what it compares, as {key: value}. What a level does not tell
is left out and contradicts nothing; only code and functional must be told by both or
by neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from dpbench.elements import SYMBOLS
from dpbench.store.theory import kpoints as theory_kpoints

Theory = Mapping[str, Any]
Pairs = list[tuple[int, int]]

PRINTED = 1e-5
"""Relative difference that two programs' printing of one number may leave; pw.x prints
cutoffs with four decimals of Ry."""

SMEARING_ERROR = 1e-3
"""eV/atom; what two smearings may differ by in free energy: below the accuracy of any
fit, above what widths chosen for one purpose differ by."""

UNTOLD = "not told"
"""Stands for code or functional where a level leaves them out."""

NONE = "none"
"""What a level says of a correction or of +U that it was made without."""

UNNAMED = "unnamed"
"""Dispersion that adds to the energy while no file names it."""

CONJUGATE = frozenset({"total energy", "free energy", "free_energy_TOTEN"})
"""Energies whose derivative the forces are; without smearing they are one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How one setting is compared."""

    keys: tuple[str, ...]
    """Keys of a level that it reads."""
    pick: Callable[[Theory], dict[str, Any]]
    """What a level tells of it, by the key that a message names."""
    agree: Callable[[Any, Any], bool]
    """Whether two of these values agree."""
    note: str = ""
    """What to say where they do not; "" if the values speak for themselves."""
    conflicts: Callable[[Sequence[Any]], Pairs] | None = None
    """Finds disagreeing pairs of many values faster than by comparing all."""


def is_undeclared(theory: Theory) -> bool:
    """Whether a level tells nothing at all."""
    return all(value in (None, "", {}, []) for value in theory.values())


def elements_told(theory: Theory) -> tuple[str, ...]:
    """Elements that a level speaks of, sorted."""
    labels: set[str] = set()
    for key in ("pseudopotentials", "basis", "hubbard_u"):
        labels |= set(theory.get(key) or {})
    return tuple(sorted({symbol for label in labels if (symbol := element(label))}))


def element(label: str) -> str | None:
    """Return the element of a species label such as ``Fe1`` or ``O_a``."""
    for length in (2, 1):
        symbol, rest = label[:length].capitalize(), label[length:]
        if symbol in SYMBOLS[1:] and not rest[:1].isalpha():
            return symbol
    return None


def _essential(key: str) -> Callable[[Theory], dict[str, Any]]:
    def pick(theory: Theory) -> dict[str, Any]:
        if is_undeclared(theory):
            return {}
        return {key: theory.get(key) or UNTOLD}

    return pick


def _plain(key: str) -> Callable[[Theory], dict[str, Any]]:
    def pick(theory: Theory) -> dict[str, Any]:
        value = theory.get(key)
        return {} if value is None else {key: value}

    return pick


def _declared(theory: Theory) -> dict[str, Any]:
    return {"theory": "undeclared" if is_undeclared(theory) else "declared"}


def _by_element(key: str) -> Callable[[Theory], dict[str, Any]]:
    def pick(theory: Theory) -> dict[str, Any]:
        found: dict[str, list[Any]] = {}
        for label, value in sorted((theory.get(key) or {}).items()):
            values = found.setdefault(element(label) or label, [])
            if value not in values:  # Fe1 and Fe2 often share one
                values.append(value)
        return {f"{key}.{symbol}": values for symbol, values in found.items()}

    return pick


def _hubbard(theory: Theory) -> dict[str, Any]:
    """+U of every element that the level speaks of: one without it has none."""
    given = theory.get("hubbard_u")
    if given is None:
        return {}
    found: dict[str, Any] = {}
    for label, value in sorted(given.items()):
        symbol = element(label)
        if symbol is None:
            found[f"hubbard_u.{label}"] = value
        else:
            found.setdefault(f"hubbard_u.{symbol}", []).append(value)
    for symbol in elements_told(theory):
        found.setdefault(f"hubbard_u.{symbol}", NONE)
    return found


def _smearing(theory: Theory) -> dict[str, Any]:
    kind = theory.get("smearing")
    if kind is None:
        return {}
    return {"smearing": {"type": kind, "width": theory.get("smearing_width")}}


def _details(theory: Theory) -> dict[str, Any]:
    told = theory.get("details") or {}
    return {f"details.{key}": value for key, value in told.items() if value is not None}


def equal(one: Any, other: Any) -> bool:
    """Compare names without case, numbers as printed, and mappings by shared keys."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=PRINTED)
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return False
        return all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


def same_dispersion(one: str, other: str) -> bool:
    """Compare corrections by name; ``unnamed`` may be any, DFT-D3 any damping of it."""
    if equal(one, other):
        return True
    if NONE in (one, other):
        return False
    a, b = one.casefold(), other.casefold()
    return UNNAMED in (a, b) or a.startswith(f"{b}(") or b.startswith(f"{a}(")


def same_hubbard(one: Any, other: Any) -> bool:
    """Compare +U of one element, that of Fe1 and Fe2 in any order."""
    if not isinstance(one, list) or not isinstance(other, list):
        return equal(one, other)
    return all(
        any(equal(value, twin) for twin in there)
        for here, there in ((one, other), (other, one))
        for value in here
    )


def same_potentials(one: Any, other: Any) -> bool:
    """Compare the potentials (or basis sets) that two files use for one element."""
    return all(
        any(same_potential(value, twin) for twin in there)
        for here, there in ((one, other), (other, one))
        for value in here
    )


def same_potential(one: Any, other: Any) -> bool:
    """Compare {title, hash}: equal hashes settle it, then titles must be equal.

    Hashes of different kinds (``md5:``, ``sha256:``) tell nothing about each other.
    """
    a, b = (_titled(value) for value in (one, other))
    if a["hash"] and b["hash"] and _kind(a["hash"]) == _kind(b["hash"]):
        return bool(a["hash"] == b["hash"])
    if a["title"] is None or b["title"] is None:
        return True
    first, second = str(a["title"]), str(b["title"])
    return first == second or _is_short(first, second) or _is_short(second, first)


def _titled(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {"title": value.get("title"), "hash": value.get("hash")}
    return {"title": value, "hash": None}


def _kind(printed: str) -> str:
    return printed.partition(":")[0]


def _is_short(short: str, full: str) -> bool:
    """Whether GTH-PBE stands for GTH-PBE-q6: CP2K's files list both names for one."""
    charge = full.removeprefix(f"{short}-q")
    return charge != full and charge.isdecimal()


def smearing_error(value: Mapping[str, Any]) -> float | None:
    """Estimate how far a smeared free energy lies from that without, eV/atom.

    E - TS departs from the energy at zero width by c n w^2 with n states of a metal at
    the Fermi level, taken as 1/(eV atom): c = 1/4 for a Gaussian and pi^2/6 for
    Fermi-Dirac occupations. Methfessel-Paxton and Marzari-Vanderbilt cancel that order
    and leave one in w^4, taken as 0.1 w^4. None for a width that is not told.

    Source:
        Methfessel and Paxton, Phys. Rev. B 40, 3616 (1989); Marzari et al., Phys. Rev.
        Lett. 82, 3296 (1999); Sommerfeld's expansion for Fermi-Dirac.
    """
    kind, width = str(value["type"]), value.get("width")
    if kind in (NONE, "fixed") or kind.startswith("tetrahedron"):
        return 0.0
    if width is None:
        return None
    if kind.startswith(("methfessel-paxton", "marzari-vanderbilt")):
        return 0.1 * float(width) ** 4
    factor = {"gaussian": 0.25, "fermi-dirac": 1.645}.get(kind)
    return None if factor is None else factor * float(width) ** 2


def same_smearing(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two smearings give one free energy within ``SMEARING_ERROR``."""
    a, b = smearing_error(one), smearing_error(other)
    if a is None or b is None:
        untold = one["width"] is None or other["width"] is None
        return equal(one, other) or (untold and one["type"] == other["type"])
    return abs(a - b) <= SMEARING_ERROR or equal(one, other)


def same_energy(one: str, other: str) -> bool:
    """Whether two energies are both the one whose derivative the forces are."""
    return one == other or (one in CONJUGATE and other in CONJUGATE)


RULES: tuple[Rule, ...] = (
    Rule(
        keys=(),
        pick=_declared,
        agree=equal,
        note="--theory FILE declares new ones",
    ),
    Rule(keys=("code",), pick=_essential("code"), agree=equal),
    Rule(keys=("functional",), pick=_essential("functional"), agree=equal),
    Rule(keys=("dispersion",), pick=_plain("dispersion"), agree=same_dispersion),
    Rule(keys=("hubbard_u",), pick=_hubbard, agree=same_hubbard),
    Rule(keys=("cutoff",), pick=_plain("cutoff"), agree=equal, note="eV"),
    Rule(
        keys=("cutoff_density",), pick=_plain("cutoff_density"), agree=equal, note="eV"
    ),
    Rule(keys=("rel_cutoff",), pick=_plain("rel_cutoff"), agree=equal, note="eV"),
    Rule(keys=("basis",), pick=_by_element("basis"), agree=same_potentials),
    Rule(
        keys=("pseudopotentials",),
        pick=_by_element("pseudopotentials"),
        agree=same_potentials,
    ),
    Rule(
        keys=("kpoints",),
        pick=_plain("kpoints"),
        agree=theory_kpoints.agree,
        conflicts=theory_kpoints.conflicts,
        note="no one spacing gives both meshes",
    ),
    Rule(
        keys=("smearing", "smearing_width"),
        pick=_smearing,
        agree=same_smearing,
        note="free energies differ by more than 1 meV/atom in a metal",
    ),
    Rule(keys=("spin",), pick=_plain("spin"), agree=equal),
    Rule(keys=("energy_kind",), pick=_plain("energy_kind"), agree=same_energy),
    Rule(keys=("details",), pick=_details, agree=equal),
)
"""All rules, in the order of a message. ``code_version`` is recorded, not compared."""
