"""The comment line of an extended XYZ frame: keys, columns, and which are labels.

Source: the extended XYZ specification (https://github.com/libAtoms/extxyz) and the
spellings that ASE, QUIP, MACE and NequIP write.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpbench.io.readers.tables import to_float

_QUOTED = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_PAIR = re.compile(
    rf"""({_QUOTED}|[^\s="'{{}}\[\]]+)"""
    rf"""(?:\s*=\s*({_QUOTED}|\{{[^{{}}]*\}}|\[(?:[^\[\]]|\[[^\[\]]*\])*\]|\S+))?"""
)
_ESCAPED = re.compile(r"\\(.)")
_WORD = re.compile(r"[^\s,\[\]{}]+")
_FAMILY = re.compile(r"(?:(ref|dft|qm)_)?(.+?)(?:_(ref|dft|qm))?")

_ENERGIES = (
    "free_energy",
    "energy",
    "total_energy",
    "tot_energy",
    "potential_energy",
    "etot",
    "toten",
)
"""Names of an energy, the one conjugate to the forces first."""
_FORCES = ("forces", "force")
_VIRIALS = ("virial", "virials")
_STRESSES = ("stress", "stresses")
_FAMILIES = ("ref", "dft", "qm", "")
"""A prefix says on purpose that the value is the reference; a plain ``energy`` beside
it is what some calculator held when the file was written."""

DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
"""The columns of a frame that names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Where the words of an atom line are found."""

    width: int
    """Words of a line."""
    species: int
    """Column of the element."""
    is_number: bool
    """Whether that column holds the atomic number, not the symbol."""
    coord: int
    """First of three columns."""
    forces: tuple[tuple[str, int], ...]
    """Name and first column of everything that may be a force."""
    aparam: tuple[int, int] = (0, 0)
    """First column and number of ``aparam``, numbers of each atom that models of
    DeePMD-kit take; none where the number is 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which of the keys and columns are the labels."""

    energy: str | None = None
    """Key of the energy, eV."""
    force: int | None = None
    """First of three columns, eV/Å."""
    virial: str | None = None
    """Key of the virial, eV."""
    stress: str | None = None
    """Key of the stress, eV/Å^3, tension > 0."""
    note: str = ""
    """What was passed over, for the user."""


def read_pairs(comment: str) -> dict[str, str]:
    """Split a comment line into keys and their unquoted values.

    Keys that every program must understand (Lattice, Properties, pbc) come in lower
    case; a key without a value has the value ``T``.
    """
    pairs = {}
    for key, value in _PAIR.findall(comment):
        pairs[_key(key)] = _bare(value) if value else "T"
    return pairs


@lru_cache(maxsize=1024)
def _key(word: str) -> str:
    name = _bare(word)
    plain = name.lower()
    return plain if plain in ("lattice", "properties", "pbc") else name


def _bare(word: str) -> str:
    """Take quotes or braces from a word; brackets stay, they tell nested arrays."""
    if word[0] not in "\"'{":
        return word
    if len(word) >= 2 and word[0] in "\"'" and word[-1] == word[0]:
        return _ESCAPED.sub(r"\1", word[1:-1])
    if len(word) >= 2 and word[0] == "{" and word[-1] == "}":
        return word[1:-1]
    return word


def read_numbers(value: str) -> NDArray[np.float64]:
    """Read all numbers of a value, brackets and commas aside; other words are NaN."""
    words = _WORD.findall(value.removeprefix("_JSON "))
    return np.array([to_float(word) for word in words], dtype=np.float64)


def read_flags(value: str) -> tuple[bool, bool, bool] | None:
    """Read periodicity such as ``T T F``; None if it is neither one nor three flags."""
    known = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
    flags = [known.get(word.lower()) for word in _WORD.findall(value)]
    if len(flags) == 1:
        flags = flags * 3
    if len(flags) != 3 or None in flags:
        return None
    return bool(flags[0]), bool(flags[1]), bool(flags[2])


def read_matrix(value: str) -> NDArray[np.float64] | None:
    """Read a symmetric tensor of nine numbers or six in Voigt order xx yy zz yz xz xy.

    Returns:
        (3, 3); None if the count of numbers is another.
    """
    numbers = read_numbers(value)
    if len(numbers) == 6:
        xx, yy, zz, yz, xz, xy = numbers.tolist()
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if len(numbers) != 9:
        return None
    # flat values run column by column, nested lists row by row, as ASE writes them
    matrix = numbers.reshape(3, 3)
    return matrix if "[[" in value.replace(" ", "") else matrix.T.copy()


def read_lattice(value: str) -> NDArray[np.float64] | None:
    """Read the cell vectors, rows; None if they are not nine numbers in a row.

    Whether a nested list holds vectors as rows or as columns differs between programs,
    so one that is not symmetric is refused.
    """
    numbers = read_numbers(value)
    if len(numbers) != 9:
        return None
    box = numbers.reshape(3, 3)
    is_nested = "[[" in value.replace(" ", "")
    if is_nested and not np.array_equal(box, box.T, equal_nan=True):
        return None
    return box


@lru_cache(maxsize=256)
def read_columns(properties: str) -> Columns | None:
    """Read a ``Properties`` value; None if it is damaged or names no position."""
    words = properties.split(":")
    if len(words) % 3:
        return None
    found: dict[str, tuple[int, int, str]] = {}
    width = 0
    triples = zip(words[::3], words[1::3], words[2::3], strict=True)
    for name, kind, size in triples:
        if kind not in "RISL" or not size.isdecimal() or not int(size):
            return None
        found[name] = (width, int(size), kind)
        width += int(size)
    plain = {name.lower(): place for name, place in found.items()}
    species = _first(plain, ("species", "symbols", "element", "elements"), 1, "S")
    numbers = _first(plain, ("z", "numbers", "atomic_numbers"), 1, "I")
    coord = _first(plain, ("pos", "positions"), 3, "R")
    element = numbers if species is None else species
    if element is None or coord is None:
        return None
    forces = [
        (name, place)
        for name, (place, size, kind) in found.items()
        if size == 3 and kind == "R" and _family(name)[1] in _FORCES
    ]
    column, count, numeric = found.get("aparam", (0, 0, "R"))
    return Columns(
        width=width,
        species=element,
        is_number=species is None,
        coord=coord,
        forces=tuple(forces),
        aparam=(column, count) if numeric in "RI" else (0, 0),
    )


def _first(
    found: dict[str, tuple[int, int, str]], names: Iterable[str], size: int, kind: str
) -> int | None:
    for name in names:
        if name in found and found[name][1:] == (size, kind):
            return found[name][0]
    return None


@lru_cache(maxsize=256)
def choose_labels(keys: tuple[str, ...], forces: tuple[tuple[str, int], ...]) -> Choice:
    """Decide which keys and columns are the labels.

    Energy, force and virial are taken from one family (``REF_``, ``dft_`` or plain
    names), the first that holds both energy and force. Within it the free energy wins,
    for it is the one whose derivative the forces are.
    """
    names = [*keys, *(name for name, _ in forces)]
    family = _best_family(names)
    energies = _ranked(keys, _ENERGIES)
    energy = _of_family(energies, family, names)
    force = _of_family(_ranked([name for name, _ in forces], _FORCES), family, names)
    passed = [key for key in energies if key != energy]
    note = ""
    if energy is not None and passed:
        note = f"the energy is '{energy}'; not taken: {', '.join(passed)}."
    return Choice(
        energy=energy,
        force=None if force is None else dict(forces)[force],
        virial=_of_family(_ranked(keys, _VIRIALS), family, names),
        stress=_of_family(_ranked(keys, _STRESSES), family, names),
        note=note,
    )


def _family(name: str) -> tuple[str, str]:
    """Split ``REF_energy`` or ``energy_dft`` into family and plain name."""
    match = _FAMILY.fullmatch(name.lower())
    if match is None:
        return "", name.lower()
    return match[1] or match[3] or "", match[2]


def _holds(names: Iterable[str], family: str, kinds: Sequence[str]) -> bool:
    return any(f == family and n in kinds for f, n in map(_family, names))


def _best_family(names: Sequence[str]) -> str:
    for family in _FAMILIES:
        if _holds(names, family, _ENERGIES) and _holds(names, family, _FORCES):
            return family
    for family in _FAMILIES:
        if _holds(names, family, _ENERGIES):
            return family
    return ""


def _ranked(names: Iterable[str], kinds: Sequence[str]) -> list[str]:
    """Return the names of one kind of label, best family and spelling first."""
    known = [name for name in names if _family(name)[1] in kinds]

    def rank(name: str) -> tuple[int, int]:
        family, plain = _family(name)
        return _FAMILIES.index(family), kinds.index(plain)

    return sorted(known, key=rank)


def _of_family(ranked: Sequence[str], family: str, names: Sequence[str]) -> str | None:
    """Take the best name of the family, else one whose own family has no energy.

    A plain ``stress`` beside ``REF_energy`` is the reference's, unless a plain
    ``energy`` stands there as well.
    """
    for name in ranked:
        if _family(name)[0] == family:
            return name
    for name in ranked:
        if not _holds(names, _family(name)[0], _ENERGIES):
            return name
    return None
