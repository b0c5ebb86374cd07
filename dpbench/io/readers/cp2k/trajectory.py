"""Trajectory files of CP2K: positions, forces (xyz) and cells."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.io.readers.tables import cell_volume, number_columns, to_float

_COMMENT = re.compile(r"\s*i\s*=\s*(\d+)\s*,(?:.*?time\s*=\s*[^,]+,)?\s*E\s*=\s*(\S+)")

_HEAD = re.compile(r"(?m)^[ \t]*(\d{1,9})[ \t]*\n([ \t]*i\s*=[^\n]*)\n")
"""The two lines that a frame begins with."""
_CELL_COLUMNS = 12
"""Step, time, nine components and the volume."""
_SAME_VOLUME = 1e-5
"""Relative; ten decimals are printed of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class XyzFrame:
    """One frame of a positions or forces file."""

    step: int
    """As the comment prints it."""
    energy: float
    """Hartree, ten decimals, from the comment."""
    values: NDArray[np.float64]
    """(atom, 3), in the file's unit; NaN for atoms behind a cut."""
    is_whole: bool
    """Whether every atom could be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class XyzFile:
    """All frames of a positions or forces file."""

    path: Path
    labels: tuple[str, ...]
    """(atom), as printed."""
    frames: tuple[XyzFrame, ...]


def is_xyz(text: str) -> bool:
    """Whether a text is an xyz file that a CP2K run wrote."""
    lines = text[:1000].split("\n", 2)
    return (
        len(lines) == 3
        and lines[0].strip().isdigit()
        and _COMMENT.match(lines[1]) is not None
    )


def is_cell(text: str) -> bool:
    """Whether a text is a cell file of CP2K."""
    return text.lstrip().startswith("#") and "Cx [Angstrom]" in text[:600]


def read_xyz(text: str, path: Path) -> XyzFile:
    """Read a positions or forces file.

    The file is cut at the heads of its frames: one that lost or gained a line is not
    whole, and those behind it are.

    Raises:
        SourceError: If the file changes its number of atoms.
    """
    heads = list(_HEAD.finditer(text))
    counts = {int(head[1]) for head in heads}
    if len(counts) > 1:
        raise SourceError(
            f"{path}: frames of {' and '.join(map(str, sorted(counts)))} atoms; "
            "expected one system. Split the file."
        )
    frames: list[XyzFrame] = []
    labels: tuple[str, ...] = ()
    stops = [*(head.start() for head in heads[1:]), len(text)]
    for head, stop in zip(heads, stops, strict=True):
        body = text[head.end() : stop]
        values, own = _atoms(body, int(head[1]))
        labels = labels or own
        comment = _COMMENT.match(head[2])
        frames.append(
            XyzFrame(
                step=-1 if comment is None else int(comment[1]),
                energy=np.nan if comment is None else to_float(comment[2]),
                values=values,
                # a frame of other atoms lost lines, and gained those of another
                is_whole=comment is not None and bool(own) and own == labels,
            )
        )
    return XyzFile(path=path, labels=labels, frames=tuple(frames))


def _atoms(body: str, natoms: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read the atoms of a frame.

    Returns:
        (atom, 3), NaN where it cannot be read, and (atom) the labels; no label at all
        unless the frame is whole: as many lines, all as wide, the last one ended.
    """
    lines = body.split("\n")
    ends = lines.pop() == ""
    values = number_columns(lines[:natoms], first=1)
    frame = np.full((natoms, 3), np.nan)
    if values is not None:
        frame[: len(values)] = values
    is_even = len({len(line) for line in lines}) == 1
    words = {len(line.split()) for line in lines}
    if not (ends and len(lines) == natoms and is_even and words == {4}):
        return frame, ()
    if values is None:
        return frame, ()
    return frame, tuple(line.split(maxsplit=1)[0] for line in lines)


def read_cells(text: str) -> list[tuple[int, NDArray[np.float64]]]:
    """Read a cell file: (step, cell (3, 3) in Å) in file order.

    A line that was cut, or whose volume is not that of its cell, is left out.
    """
    rows = [line for line in text.split("\n")[:-1] if line and line.lstrip()[0] != "#"]
    rows = [row for row in rows if len(row.split()) == _CELL_COLUMNS]
    values = number_columns(rows, first=0, count=_CELL_COLUMNS) if rows else None
    if values is None:
        return []
    found = []
    for row in values:
        cell, volume = row[2:11].reshape(3, 3), row[11]
        is_right = abs(cell_volume(cell) - volume) < _SAME_VOLUME * abs(volume)
        if is_right and row[0] == row[0] // 1:
            found.append((int(row[0]), cell))
    return found


def occurrences(steps: list[int]) -> list[tuple[int, int]]:
    """Number the repeats of each step: (step, how often it stood before)."""
    seen: dict[int, int] = {}
    keys = []
    for step in steps:
        seen[step] = seen.get(step, -1) + 1
        keys.append((step, seen[step]))
    return keys
