"""Input file of Quantum ESPRESSO pw.x: cell and positions at full precision."""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.io.readers.tables import from_fractional, number_columns, to_float
from dpbench.units import BOHR

_NAMELIST = re.compile(r"^\s*&(control|system)\b", re.I | re.M)
_ENTRY = re.compile(
    r"(\w+(?:\(\s*\d+\s*(?:,\s*\d+\s*)?\))?)\s*=\s*"
    r"('[^']*'|\"[^\"]*\"|[^\s,!/]+)"
)
CARDS = (
    "ATOMIC_SPECIES",
    "ATOMIC_POSITIONS",
    "K_POINTS",
    "CELL_PARAMETERS",
    "CONSTRAINTS",
    "OCCUPATIONS",
    "ATOMIC_FORCES",
    "ATOMIC_VELOCITIES",
    "HUBBARD",
    "ADDITIONAL_K_POINTS",
    "SOLVENTS",
)
"""Words that begin a card."""

_CARD_STARTS = frozenset(card[:4] for card in CARDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """What the input tells about the calculation."""

    labels: tuple[str, ...]
    """(atom), labels of the species."""
    coord: NDArray[np.float64] | None
    """(atom, 3), Å; None where the input holds formulas or a rare cell."""
    box: NDArray[np.float64] | None
    """(3, 3), Å; None for a Bravais lattice that is not made here."""
    mesh: tuple[tuple[int, ...], tuple[int, ...]] | None
    """Automatic k-points: divisions and shifts; None for a list."""
    restarts: bool
    """Whether the run takes its positions from an earlier one."""


def is_input(text: str) -> bool:
    """Whether a text is an input of pw.x."""
    return _NAMELIST.search(text) is not None and "ATOMIC_POSITIONS" in text.upper()


def read_input(text: str) -> Input:
    """Read an input of pw.x; what cannot be read at full precision stays None."""
    keys, cards = _split(text)
    labels: tuple[str, ...] = ()
    title, lines = cards.get("ATOMIC_POSITIONS", ("", []))
    natoms = _integer(keys.get("nat", "0"))
    lines = lines[:natoms]
    labels = tuple(line.split()[0] for line in lines)
    alat, box = _cell(keys, cards.get("CELL_PARAMETERS"))
    return Input(
        labels=labels,
        coord=_positions(title, lines, alat, box),
        box=box,
        mesh=_mesh(cards.get("K_POINTS")),
        restarts=keys.get("restart_mode", "") == "restart",
    )


def _split(text: str) -> tuple[dict[str, str], dict[str, tuple[str, list[str]]]]:
    """Split an input into namelist entries and cards (title options, lines)."""
    keys: dict[str, str] = {}
    cards: dict[str, tuple[str, list[str]]] = {}
    current: list[str] | None = None
    for raw in text.splitlines():
        line = raw.split("!")[0].split("#")[0].strip()
        if not line:
            continue
        word = line[:4].upper()
        if word in _CARD_STARTS:
            word = re.split(r"[\s({]", line, maxsplit=1)[0].upper()
        if word in CARDS:
            current = []
            cards[word] = (line[len(word) :].strip(" ({})\t").lower(), current)
        elif current is not None:
            current.append(line)
        else:
            for key, value in _ENTRY.findall(line):
                keys[key.lower().replace(" ", "")] = value.strip("'\"").lower()
    return keys, cards


def _integer(word: str) -> int:
    """Read an integer; 0, which stands for nothing here, where it is none."""
    value = to_float(word)
    return int(value) if math.isfinite(value) else 0


def _alat(keys: dict[str, str]) -> float | None:
    """Return the lattice parameter that the namelist gives, Å."""
    if "celldm(1)" in keys:
        return to_float(keys["celldm(1)"]) * BOHR
    return to_float(keys["a"]) if "a" in keys else None


def _cell(
    keys: dict[str, str], card: tuple[str, list[str]] | None
) -> tuple[float | None, NDArray[np.float64] | None]:
    """Return alat (Å) and the cell (Å) as pw.x makes them."""
    alat = _alat(keys)
    ibrav = _integer(keys.get("ibrav", "0"))
    if ibrav != 0:
        return alat, None if alat is None else _bravais(ibrav, alat, keys)
    if card is None:
        return alat, None
    unit, lines = card
    values = number_columns(lines[:3], first=0)
    if values is None or values.shape != (3, 3) or not np.isfinite(values).all():
        return alat, None
    if "angstrom" in unit:
        box = values
    elif "bohr" in unit or alat is None:
        box = values * BOHR
    else:
        box = values * alat
    if alat is None:
        x, y, z = box[0].tolist()
        alat = math.sqrt(x * x + y * y + z * z)
    return alat, box


def _bravais(
    ibrav: int, alat: float, keys: dict[str, str]
) -> NDArray[np.float64] | None:
    """Make the cell of the common Bravais lattices: cubic, hexagonal, orthogonal."""
    ratio = {}
    for index, length in ((2, "b"), (3, "c")):
        if f"celldm({index})" in keys:
            ratio[index] = to_float(keys[f"celldm({index})"])
        elif length in keys:
            ratio[index] = to_float(keys[length]) / alat
    b, c = ratio.get(2, math.nan), ratio.get(3, math.nan)
    lattices: dict[int, list[list[float]]] = {
        1: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        2: [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]],
        3: [[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]],
        -3: [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
        4: [[1, 0, 0], [-0.5, math.sqrt(3) / 2, 0], [0, 0, c]],
        6: [[1, 0, 0], [0, 1, 0], [0, 0, c]],
        8: [[1, 0, 0], [0, b, 0], [0, 0, c]],
    }
    if ibrav not in lattices:
        return None
    vectors = np.array(lattices[ibrav], dtype=np.float64)
    return vectors * alat if np.isfinite(vectors).all() else None


def _positions(
    unit: str,
    lines: list[str],
    alat: float | None,
    box: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Return the positions, Å; None for formulas or an unknown cell."""
    values = number_columns(lines, first=1)
    if values is None or not np.isfinite(values).all():
        return None
    if "angstrom" in unit:
        return values
    if "bohr" in unit:
        return values * BOHR
    if "crystal_sg" in unit:
        return None
    if "crystal" in unit:
        return None if box is None else from_fractional(values, box)
    return None if alat is None else values * alat


def _mesh(
    card: tuple[str, list[str]] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the automatic mesh and its shifts; Gamma is (1, 1, 1), (0, 0, 0)."""
    if card is None or "gamma" in card[0]:
        return ((1, 1, 1), (0, 0, 0)) if card is not None else None
    if "automatic" not in card[0] or not card[1]:
        return None
    words = card[1][0].split()
    if len(words) < 3 or not all(word.isdigit() for word in words[:6]):
        return None
    numbers = [int(word) for word in words[:6]]
    return tuple(numbers[:3]), tuple([*numbers[3:], 0, 0, 0][:3])
