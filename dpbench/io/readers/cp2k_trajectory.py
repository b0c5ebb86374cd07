"""Trajectory files of CP2K: positions, forces (xyz) and cells."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.io.readers.tables import next_line, number_columns, to_float, whole_lines

_COMMENT = re.compile(r"\s*i\s*=\s*(\d+)\s*,(?:.*?time\s*=\s*[^,]+,)?\s*E\s*=\s*(\S+)")


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
    """Read a positions or forces file; a cut last frame has NaN where it is cut.

    Raises:
        SourceError: If the file changes its number of atoms.
    """
    natoms = int(text[: text.index("\n")])
    frames: list[XyzFrame] = []
    labels: tuple[str, ...] = ()
    at = 0
    while at < len(text):
        comment = next_line(text, at)
        body = next_line(text, comment)
        match = _COMMENT.match(text, comment, body)
        if match is None or body > len(text) - 1 or text[body - 1] != "\n":
            break
        if text[at : comment - 1].strip() != str(natoms):
            raise SourceError(
                f"{path}: a frame of {text[at : comment - 1].strip()} atoms behind "
                f"frames of {natoms}; expected one system. Split the file."
            )
        lines = whole_lines(text, body, count=natoms)
        is_whole = lines is not None
        if lines is None:
            lines = text[body:].split("\n")[:-1]
        values = number_columns(lines, first=1)
        is_whole = is_whole and values is not None
        frame = np.full((natoms, 3), np.nan)
        if values is not None:
            frame[: len(values)] = values
        if not labels and is_whole:
            labels = tuple(line.split(maxsplit=1)[0] for line in lines)
        frames.append(
            XyzFrame(
                step=int(match[1]),
                energy=to_float(match[2]),
                values=frame,
                is_whole=is_whole,
            )
        )
        at = body + sum(len(line) + 1 for line in lines)
    return XyzFile(path=path, labels=labels, frames=tuple(frames))


def read_cells(text: str) -> list[tuple[int, NDArray[np.float64]]]:
    """Read a cell file: (step, cell (3, 3) in Å) in file order; a cut line is left."""
    rows = [line for line in text.split("\n")[:-1] if line and line.lstrip()[0] != "#"]
    values = number_columns(rows, first=0, count=11) if rows else None
    if values is None:
        return []
    return [
        (int(row[0]), row[2:11].reshape(3, 3))
        for row in values
        if row[0] == row[0] // 1
    ]


def occurrences(steps: list[int]) -> list[tuple[int, int]]:
    """Number the repeats of each step: (step, how often it stood before)."""
    seen: dict[int, int] = {}
    keys = []
    for step in steps:
        seen[step] = seen.get(step, -1) + 1
        keys.append((step, seen[step]))
    return keys
