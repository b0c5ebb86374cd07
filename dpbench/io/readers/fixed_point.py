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
_ALLOWED = np.zeros(256, dtype=np.bool_)
_ALLOWED[[32, 45, *range(48, 58)]] = True


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
    out = np.empty((len(table), len(columns)))
    for number, (start, end, decimals) in enumerate(columns):
        field = table[:, start:end]
        point = end - start - 1 - decimals
        plain = np.ascontiguousarray(np.delete(field, point, axis=1).T)
        if not ((field[:, point] == 46).all() and _ALLOWED[plain].all()):
            return None
        if not ((plain[point:] >= 48).all() and _is_tidy(plain[:point])):
            return None
        value = np.zeros(len(table), dtype=np.int64)
        for digits in plain:
            value *= 10
            value += _DIGIT[digits]
        is_negative = (plain == 45).any(axis=0)
        # -0.000 stays minus zero, as float() has it
        out[:, number] = np.where(is_negative, -1.0, 1.0) * (value / 10.0**decimals)
    return out


def _is_tidy(whole: NDArray[np.uint8]) -> bool:
    """Whether each number is spaces, then at most one minus, then digits."""
    rank = np.where(whole == 32, 0, np.where(whole == 45, 1, 2))
    steps = np.diff(rank, axis=0)
    one_minus = bool(((whole == 45).sum(axis=0) <= 1).all())
    return one_minus and bool((steps >= 0).all())


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
