"""Geometry of a single point from its input, which has more digits than the log.

A log prints cell vectors with three decimals and positions with six. The input that
lies beside is believed where it says the same to those decimals, and only there.
"""

import re

import numpy as np
from numpy.typing import NDArray

from dpbench.io.readers.cp2k.input import read_input
from dpbench.io.readers.tables import to_float

_COORD = re.compile(r"^\s*&COORD\b[^\n]*\n(.*?)^\s*&END\b", re.I | re.M | re.S)
_ATOM = re.compile(
    r"\s*([A-Z][a-z]?)\w*((?:\s+[-+]?\d+\.?\d*(?:[eEdD][-+]?\d+)?){3})\s*"
)
_PRINTED_PLACE = 2e-6
"""Å; half of the last of six decimals, and rounding."""
_PRINTED_VECTOR = 1.1e-3
"""Å; three decimals, and a cell that was turned to them."""


def sharpened(
    elements: tuple[str, ...],
    coord: NDArray[np.float64],
    box: NDArray[np.float64] | None,
    *,
    input_text: str | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Take positions and cell from the input where it agrees with the log.

    Args:
        elements: Of the atoms, as the log prints them.
        coord: (atom, 3), Å, from the log.
        box: (3, 3), Å, from the log; None without a cell.
        input_text: The input; None if there is none.

    Returns:
        Positions and cell, each the input's or the log's.
    """
    if input_text is None:
        return coord, box
    places = _places(input_text, elements)
    if places is not None and np.abs(places - coord).max() < _PRINTED_PLACE:
        coord = places
    vectors = _vectors(input_text)
    if box is None or vectors is None:
        return coord, box
    return coord, vectors if np.abs(vectors - box).max() < _PRINTED_VECTOR else box


def _places(text: str, elements: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Return the positions of &COORD; None if it is not a plain list of these atoms."""
    blocks = _COORD.findall(text)
    if len(blocks) != 1:
        return None
    lines = [re.split(r"[!#]", line, maxsplit=1)[0] for line in blocks[0].splitlines()]
    rows = [_ATOM.fullmatch(line) for line in lines if line.strip()]
    if len(rows) != len(elements):
        return None
    values = []
    for row, element in zip(rows, elements, strict=True):
        if row is None or row[1] != element:
            return None
        values.append([to_float(word) for word in row[2].split()])
    return np.array(values)


def _vectors(text: str) -> NDArray[np.float64] | None:
    """Return A, B and C of &CELL; None if they are not nine plain numbers."""
    root = read_input(text)
    cell = None if root is None else root.find("FORCE_EVAL", "SUBSYS", "CELL")
    if cell is None or "[" in "".join(cell.values.values()):
        return None
    rows = [cell.values.get(name, "").split() for name in "ABC"]
    if any(len(row) != 3 for row in rows):
        return None
    vectors = np.array([[to_float(word) for word in row] for row in rows])
    return vectors if np.isfinite(vectors).all() else None
