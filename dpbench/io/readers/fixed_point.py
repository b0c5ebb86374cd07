"""Fast, exact reading of tables that Fortran printed in columns of fixed width.

A number printed with k decimals is an integer over 10^k. Both are exact in float64
below 2^53, and one division rounds correctly: the result has the same bits as
``float(text)``, at a tenth of the time for a whole table.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LARGEST_DIGITS = 15
"""Digits that an integer below 2^53 surely holds."""

_NUMBER = re.compile(
    rb"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eEdD][-+]?\d+)?|\*+|[-+]?(?:nan|inf\w*)", re.I
)

_DIGIT = np.zeros(256, dtype=np.int64)
_DIGIT[48:58] = np.arange(10)
_SPACE, _MINUS = 32, 45
_RANK = np.full(256, 3, dtype=np.int8)
_RANK[[_SPACE, _MINUS]] = 0, 1
_RANK[48:58] = 2


def parse_rows(
    rows: Sequence[bytes], columns: Sequence[tuple[int, int, int]], *, width: int
) -> NDArray[np.float64] | None:
    """Parse tables of equal rows.

    Args:
        rows: Pieces of text, each a whole number of rows long, line ends included.
        columns: (first character, end, decimals) of each number in a row.
        width: Characters of a row, line end included.

    Returns:
        (row, column), or None if any field is not printed so (stars, exponents).
    """
    text = b"".join(rows)
    if (
        not text
        or len(text) % width
        or any(e - s > _LARGEST_DIGITS for s, e, _ in columns)
    ):
        return None
    table = np.frombuffer(text, dtype=np.uint8).reshape(-1, width)
    characters = np.ascontiguousarray(table.T)
    out = np.empty((len(table), len(columns)))
    for number, (start, end, decimals) in enumerate(columns):
        point = end - 1 - decimals
        whole = [line for line in characters[start:point] if (line != _SPACE).any()]
        decimal = characters[point + 1 : end]
        if not ((characters[point] == 46).all() and (decimal >= 48).all()):
            return None
        if not (_is_tidy(whole) and (decimal <= 57).all()):
            return None
        value = np.zeros(len(table), dtype=np.int64)
        for digits in (*whole, *decimal):
            value *= 10
            value += _DIGIT[digits]
        size = value / 10.0**decimals
        is_negative = np.zeros(len(table), dtype=np.bool_)
        for line in whole:
            is_negative |= line == _MINUS
        # -0.000 stays minus zero, as float() has it
        out[:, number] = np.where(is_negative, -size, size)
    return out


def _is_tidy(whole: Sequence[NDArray[np.uint8]]) -> bool:
    """Whether each number is spaces, then at most one minus, then digits."""
    before = np.zeros(len(whole[0]) if len(whole) else 0, dtype=np.int8)
    for line in whole:
        rank = _RANK[line]
        # a minus after a minus, or anything after what must stand behind it
        if ((rank < before) | ((rank == 1) & (before == 1)) | (rank > 2)).any():
            return False
        before = rank
    return True


def columns_of(row: bytes, count: int) -> tuple[tuple[int, int, int], ...] | None:
    """Measure where the numbers of a row stand: each column ends where one ends.

    Returns:
        (first character, end, decimals) of the first ``count`` numbers; None if there
        are fewer, or one has no decimal point.
    """
    found = list(re.finditer(rb"-?\d+\.(\d+)", row))[:count]
    if len(found) < count:
        return None
    starts = [0, *(match.end() for match in found[:-1])]
    return tuple(
        (max(start, match.end() - _LARGEST_DIGITS), match.end(), len(match[1]))
        for start, match in zip(starts, found, strict=True)
    )


def numbers_of(text: bytes) -> list[float]:
    """Read all numbers of a text; stars give NaN, joined numbers come apart."""
    return [to_float(word) for word in _NUMBER.findall(text)]


def to_float(word: bytes) -> float:
    """Read one Fortran number; stars give NaN."""
    try:
        return float(word.translate(bytes.maketrans(b"dD", b"ee")))
    except ValueError:
        return float("nan")
