"""Fast, exact reading of tables that Fortran printed in columns of fixed width.

A number printed with k decimals is an integer over 10^k. Both are exact in float64
below 2^53, and one division rounds correctly: the result has the same bits as
``float(text)``, at a tenth of the time for a whole table.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_DIGITS = 15
"""Digits that an integer below 2^53 surely holds."""

_WIDEST = _LARGEST_DIGITS + 2
"""Characters of such a number, with its sign and point."""

_NUMBER = re.compile(
    rb"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eEdD][-+]?\d+)?|\*+|[-+]?(?:nan|inf\w*)", re.I
)

_DIGIT = np.zeros(256, dtype=np.uint8)
_DIGIT[48:58] = np.arange(10)
_SPACE, _MINUS, _POINT, _ZERO = 32, 45, 46, np.uint8(48)
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
    if not text or len(text) % width or any(e - s > _WIDEST for s, e, _ in columns):
        return None
    table = np.frombuffer(text, dtype=np.uint8).reshape(-1, width)
    characters = np.ascontiguousarray(table.T)
    out = np.empty((len(table), len(columns)))
    behind = 0
    for number, (start, end, decimals) in enumerate(columns):
        point = end - 1 - decimals
        whole = [line for line in characters[start:point] if (line != _SPACE).any()]
        decimal = characters[point + 1 : end] - _ZERO  # what is below wraps round
        if not (characters[point] == _POINT).all() or decimal.max(initial=0) > 9:
            return None
        if not _is_tidy(whole):
            return None
        if (characters[behind:start] != _SPACE).any():
            return None  # a number is wider than its column
        behind = end
        digits = [*(_DIGIT[line] for line in whole), *decimal]
        if any(line.any() for line in digits[:-_LARGEST_DIGITS]):
            return None
        value = _integers(digits[-_LARGEST_DIGITS:])
        size = value / 10.0**decimals
        is_negative = np.zeros(len(table), dtype=np.bool_)
        for line in whole:
            is_negative |= line == _MINUS
        # -0.000 becomes minus zero, as float() has it
        np.negative(size, out=size, where=is_negative)
        out[:, number] = size
    return out


def parse_texts(texts: Sequence[bytes], count: int) -> NDArray[np.float64]:
    """Read the first ``count`` numbers of each text; most are printed alike.

    Returns:
        (text, number); NaN throughout where a text holds fewer, or is not as wide as
        most are.
    """
    out = np.full((len(texts), count), np.nan)
    widths = Counter(len(text) for text in texts if text)
    if not widths:
        return out
    # Fortran prints a field always as wide: a text of another width lost a digit, or
    # gained some.
    width = widths.most_common(1)[0][0]
    alike = [i for i, text in enumerate(texts) if len(text) == width]
    same = [texts[i] for i in alike]
    columns = columns_of(same[0], count)
    parsed = None if columns is None else parse_rows(same, columns, width=width)
    if parsed is not None:
        out[alike] = parsed
        return out
    for i, text in zip(alike, same, strict=True):
        values = numbers_of(text)[:count]
        if len(values) == count:
            out[i] = values
    return out


def parse_table(text: bytes, count: int) -> NDArray[np.float64] | None:
    """Read a table row by row, where ``parse_rows`` cannot.

    Returns:
        (row, column), stars are NaN; None unless all rows are
        equally wide and hold ``count`` numbers and nothing else: a digit was lost or
        gained then, or a piece of the file.
    """
    rows = []
    lines = text.splitlines()
    for line in lines:
        values = numbers_of(line)
        if b"*" in line and len(values) != count:
            values = [float("nan")] * count
        if _NUMBER.sub(b"", line).strip():
            return None
        if len(values) != count or len(line) != len(lines[0]):
            return None
        rows.append(values)
    return np.array(rows, dtype=np.float64).reshape(-1, count)


def _integers(digits: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Join digits, first ones first: pairs, then pairs of pairs, in narrow integers.

    Four times fewer wide operations than one digit after the other.
    """
    level: list[Any] = list(digits)
    base = 10
    for dtype in (np.uint8, np.uint16, np.uint32, np.int64):
        odd = len(level) % 2
        pairs = [level[0].astype(dtype)] if odd else []
        for high, low in zip(level[odd::2], level[odd + 1 :: 2], strict=True):
            joined = high.astype(dtype)
            joined *= dtype(base)
            joined += low
            pairs.append(joined)
        level, base = pairs, base * base
    integers: NDArray[np.int64] = level[0]
    return integers


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
        (max(start, match.end() - _WIDEST), match.end(), len(match[1]))
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
