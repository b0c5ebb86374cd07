"""An OUTCAR in pieces: a few megabytes at a time, cut behind total energies.

Memory stays that of one piece, whatever the size of the file, and a piece that was
just read is still in the processor's cache when it is searched and parsed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, final

from dpbench.io.text import open_binary, read_errors

PIECE = 2_000_000
"""Bytes read at a time."""

TOTEN = b"free  energy   TOTEN  ="
ML_TOTEN = b"free  energy ML TOTEN"
FORCES = b"TOTAL-FORCE (eV/Angst)"
ITERATION = re.compile(rb"Iteration\s+(\d+|\*+)\(\s*(\d+|\*+)\s*\)")
_FIRST = (b"Iteration", b"Ionic step", FORCES)
"""What the first step begins with, at the latest."""
_STEP_END = b"LOOP+"
_LONGEST_MARK = 64


@final
class Pieces:
    """Reads one OUTCAR from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """Remember the path; nothing is opened yet."""
        self._path = path
        self.head_end = 0
        """Where the head ends in ``first``."""
        self.first_step_end = 0
        """Where the first step ends in ``first``, timing included."""
        self.first = b""
        """Head and first step."""
        self.rest = b""
        """What follows the last total energy, once all pieces were read."""

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield (text, start, stop): text[start:stop] holds whole steps.

        The first item is head and first step, or all there is: it may hold no step.

        Raises:
            SourceError: If the file cannot be read, or not unpacked.
        """
        with open_binary(self._path) as file, read_errors(self._path):
            self._read_first(file)
            text, start = self.first, self.head_end
            yield text, start, start
            while True:
                stop = _last_total(text, start)
                if stop > start:
                    yield text, start, stop
                text, start = text[stop:], 0
                # as much again as is left over: a step may be larger than a piece
                more = file.read(max(PIECE, len(text)))
                if not more:
                    break
                text += more
            self.rest = text

    def _read_first(self, file: IO[bytes]) -> None:
        """Read up to the end of the first step, which tells of the settings too."""
        text, head_end, seen = b"", -1, 0
        while True:
            more = file.read(max(PIECE, len(text)))
            text += more
            if head_end < 0:
                found = [text.find(mark, seen) for mark in _FIRST]
                head_end = min((at for at in found if at >= 0), default=-1)
            end = text.find(_STEP_END, max(seen, head_end)) if head_end >= 0 else -1
            seen = max(0, len(text) - _LONGEST_MARK)
            if end >= 0 or not more:
                break
        self.first = text
        self.head_end = head_end if head_end >= 0 else len(text)
        self.first_step_end = end if end >= 0 else len(text)


def _last_total(text: bytes, start: int) -> int:
    """Return the end of the line of the last total energy; ``start`` if none is whole.

    The offset of the line end itself: the next step begins with it.
    """
    stop = len(text)
    while True:
        at = text.rfind(TOTEN, start, stop)
        at = max(at, text.rfind(ML_TOTEN, max(at, start), stop))
        if at < 0:
            return start
        end = text.find(b"\n", at)
        if end >= 0:
            return end
        stop = at
