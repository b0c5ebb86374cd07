"""Cutting an extended XYZ file into frames, whatever is damaged in it."""

import lzma
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine
from dpbench.io.text import open_text


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFrame:
    """The text of one frame."""

    line: int
    """Line of its atom count, from 1."""
    comment: str
    """Its second line."""
    rows: list[list[str]]
    """Words of each atom line; fewer than told if the frame is damaged."""
    reason: Quarantine
    """TRUNCATED or BAD_SHAPE if the lines do not make up a whole frame."""


class LineSource:
    """Lines of a text file, plain or compressed, that can be put back."""

    def __init__(self, path: Path) -> None:
        """Open a file; raises SourceError if that fails."""
        self.path = path
        self.line = 0
        """Lines taken so far."""
        self.damage = ""
        """Why the file could not be unpacked to its end; empty if it could."""
        self._file = open_text(path)
        self._waiting: deque[str] = deque()

    def __enter__(self) -> Self:
        """Return itself; the file is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def take(self, count: int) -> list[str]:
        """Return the next lines with their ends; fewer where the file ends."""
        lines: list[str] = []
        while self._waiting and len(lines) < count:
            lines.append(self._waiting.popleft())
        try:
            lines.extend(islice(self._file, count - len(lines)))
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            self.damage = str(error)
        self.line += len(lines)
        return lines

    def put_back(self, lines: list[str]) -> None:
        """Return lines, so that they are taken again."""
        self._waiting.extendleft(reversed(lines))
        self.line -= len(lines)


def raw_frames(lines: LineSource) -> Iterator[RawFrame]:
    """Cut a file into frames.

    A frame with another number of atom lines than its first line tells is BAD_SHAPE,
    one that the file ends in is TRUNCATED; reading goes on at the next pair of lines
    that can only be the head of a frame.

    Raises:
        SourceError: If the file does not begin as an extended XYZ file does.
    """
    pending: RawFrame | None = None
    while True:
        head = _skip_blank(lines)
        if head is None:
            break
        natoms = count_of(head)
        if natoms is None:
            if pending is None:
                raise SourceError(
                    f"{lines.path}: line {lines.line} is '{head.strip()[:40]}'; "
                    "expected the number of atoms of an extended XYZ frame. Give an "
                    "extended XYZ file."
                )
            pending = replace(pending, reason=Quarantine.BAD_SHAPE)
            _skip_to_head(lines)
            continue
        if pending is not None:
            yield pending
        pending = _cut(lines, natoms)
    if pending is not None:
        yield pending


def count_of(line: str) -> int | None:
    """Return the atom count if the line is one; None if it is something else."""
    word = line.strip()
    return int(word) if word.isascii() and word.isdecimal() else None


def _skip_blank(lines: LineSource) -> str | None:
    while taken := lines.take(1):
        if taken[0].strip():
            return taken[0]
    return None


def _skip_to_head(lines: LineSource) -> None:
    """Drop lines until a count and a comment with a key follow each other."""
    while taken := lines.take(2):
        if _is_head(taken):
            lines.put_back(taken)
            return
        lines.put_back(taken[1:])


def _is_head(pair: list[str]) -> bool:
    return len(pair) == 2 and count_of(pair[0]) is not None and "=" in pair[1]


def _cut(lines: LineSource, natoms: int) -> RawFrame:
    """Take the lines of one frame, its count being taken already."""
    start = lines.line
    comment = lines.take(1)
    taken = lines.take(natoms)
    rows = [line.split() for line in taken]
    reason = Quarantine.NONE
    if len(taken) < natoms or not comment:
        reason = Quarantine.TRUNCATED
    elif lines.damage or (rows and not taken[-1].endswith("\n")):
        reason = _last_line_reason(taken, damaged=bool(lines.damage))
    # a count among the atom lines, or lines of several lengths: look for a next head
    if rows and len(set(map(len, rows))) > 1:
        inside = _head_inside(taken, lines)
        if inside is not None:
            lines.put_back(taken[inside:])
            rows = rows[:inside]
            reason = Quarantine.BAD_SHAPE
    if reason is Quarantine.TRUNCATED and rows and not taken[-1].endswith("\n"):
        rows = rows[:-1]
    return RawFrame(
        line=start,
        comment=comment[0].strip() if comment else "",
        rows=rows,
        reason=reason,
    )


def _head_inside(taken: list[str], lines: LineSource) -> int | None:
    after = lines.take(1)
    lines.put_back(after)
    joined = [*taken, *after]
    for index in range(len(taken)):
        if _is_head(joined[index : index + 2]):
            return index
    return None


def _last_line_reason(taken: list[str], *, damaged: bool) -> Quarantine:
    """Judge a last atom line without a line end: whole, or cut inside its number?

    Many programs leave the last line end out. A line that was cut has fewer words than
    the others, or in its last word fewer digits than all others of the column.
    """
    words = [line.split() or [""] for line in taken]
    if damaged or len(words[-1]) < len(words[0]):
        return Quarantine.TRUNCATED
    digits = [len(row[-1].partition(".")[2]) for row in words]
    is_cut = len(digits) > 1 and digits[-1] < min(digits[:-1])
    return Quarantine.TRUNCATED if is_cut else Quarantine.NONE
