"""Tables of numbers in the text outputs of DFT codes, turned into arrays.

Fortran prints what does not fit its column as stars, and may print two wide columns
without a space between them; both are met here, once.
"""

import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS

_NUMBER = re.compile(
    r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eEdD][-+]?\d+)?|\*+|[-+]?(?:nan|inf\w*)", re.I
)
_WORD = re.compile(r"\S+")
_LABEL = re.compile(r"[A-Za-z]{1,2}")


def find_all(text: str, needle: str, *, start: int = 0) -> list[int]:
    """Return the offsets of ``needle`` in ``text[start:]``, in order."""
    found = []
    at = text.find(needle, start)
    while at >= 0:
        found.append(at)
        at = text.find(needle, at + len(needle))
    return found


def whole_lines(text: str, start: int, *, count: int) -> list[str] | None:
    """Return ``count`` lines from offset ``start``; None if the text ends before.

    A line counts as whole only with its line end: a number that was cut while the
    code wrote it looks like a shorter, wrong number.
    """
    lines = []
    for _ in range(count):
        end = text.find("\n", start)
        if end < 0:
            return None
        lines.append(text[start:end])
        start = end + 1
    return lines


def next_line(text: str, at: int) -> int:
    """Return the offset of the line after the one that holds offset ``at``."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def to_float(word: str) -> float:
    """Read one Fortran number; stars give NaN."""
    try:
        return float(word)
    except ValueError:
        word = word.lower().replace("d", "e")
        try:
            return float(word)
        except ValueError:
            return float("nan")


def scaled(word: str, unit: float) -> float | None:
    """Read a number times its unit; None, which JSON can hold, where it is none."""
    value = to_float(word) * unit
    return value if math.isfinite(value) else None


def number_columns(
    lines: Sequence[str], *, first: int, count: int = 3, after: str | None = None
) -> NDArray[np.float64] | None:
    """Read ``count`` columns of numbers from lines of one table.

    Args:
        lines: The rows of the table.
        first: Index of the first wanted word in each line.
        count: How many numbers to take from each line.
        after: Text that stands before the numbers, for lines whose columns ran
            together; None where a first word cannot run into the next.

    Returns:
        (line, count); overflow stars are NaN. None if a line holds fewer numbers.
    """
    if not lines:
        return None
    words = " ".join(lines).split()
    width = len(lines[0].split())
    if len(words) == width * len(lines) and width >= first + count:
        flat = chain.from_iterable(
            zip(*(words[first + i :: width] for i in range(count)), strict=True)
        )
        try:
            values = np.fromiter(map(float, flat), np.float64, len(lines) * count)
            return values.reshape(-1, count)
        except ValueError:
            pass
    return _irregular(lines, first=first, count=count, after=after)


def _irregular(
    lines: Sequence[str], *, first: int, count: int, after: str | None
) -> NDArray[np.float64] | None:
    """Read a table whose lines differ in form, line by line."""
    rows = []
    for line in lines:
        if after is not None:
            behind = line.partition(after)[2] if after else line
            words = _NUMBER.findall(behind)[:count]
        else:
            words = line.split()[first : first + count]
        if len(words) < count:
            return None
        rows.append([to_float(word) for word in words])
    return np.array(rows, dtype=np.float64)


def are_even(lines: Sequence[str], *, first: int, count: int = 3) -> bool:
    """Whether the numbers of a table end at the same columns in every line.

    Fortran prints a field always as wide: a line of another width lost a digit, or
    gained some. What follows the numbers may differ.
    """
    if len({len(line) for line in lines}) == 1:
        return True
    ends = {
        tuple(word.end() for word in _WORD.finditer(line))[first : first + count]
        for line in lines
    }
    return len(ends) == 1


@cache
def element_of(label: str) -> str:
    """Return the element of an atom label such as ``Fe1``, ``O_h`` or ``H-2``.

    The label itself comes back where no element can be read from it, so that the
    error names what the file holds.
    """
    match = _LABEL.match(label)
    if match is None:
        return label
    letters = match[0].capitalize()
    for size in (2, 1):
        if len(letters) >= size and letters[:size] in SYMBOLS[1:]:
            return letters[:size]
    return label


def cell_volume(box: NDArray[np.float64]) -> float:
    """Return the volume, Å^3, of cell vectors (3, 3); no BLAS: bits are portable."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = box.tolist()
    volume = (
        ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    )
    return abs(float(volume))


def from_fractional(
    fraction: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn crystal coordinates (atom, 3) into Å by elementwise sums."""
    out: NDArray[np.float64] = (
        fraction[:, :1] * box[0] + fraction[:, 1:2] * box[1] + fraction[:, 2:3] * box[2]
    )
    return out
