"""Reader of extended XYZ files: frames of any composition, one after the other.

Source: the extended XYZ specification (https://github.com/libAtoms/extxyz).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS, atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, offsets
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.extxyz_comment import (
    DEFAULT_PROPERTIES,
    Choice,
    Columns,
    choose_labels,
    read_columns,
    read_flags,
    read_lattice,
    read_matrix,
    read_pairs,
)
from dpbench.io.readers.extxyz_lines import LineSource, RawFrame, raw_frames
from dpbench.io.readers.tables import to_float

_BLOCK = 50_000
"""Atoms that are turned into arrays at once: bounds the memory spent on words."""
_CONTRADICTION = 1e-4
"""Of the largest element; virial and stress of one frame may differ by rounding."""

_NO_MATRIX = np.full((3, 3), np.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """What the comment line of a frame says."""

    box: NDArray[np.float64]
    pbc: tuple[bool, bool, bool]
    energy: float
    virial: NDArray[np.float64]
    stress: NDArray[np.float64]
    columns: Columns
    choice: Choice
    reason: Quarantine


class _Collector:
    """Turns frames into arrays, a block of equal columns at a time."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.blocks: list[Frames] = []
        self.reasons: list[Quarantine] = []
        self.notes: Counter[str] = Counter()
        self._heads: list[_Head] = []
        self._rows: list[list[list[str]]] = []
        self._natoms = 0

    def add(self, raw: RawFrame) -> None:
        """Take one frame."""
        head = _read_head(raw, self._note)
        rows, reason = _usable_rows(raw, head)
        if not rows:
            self._note(f"line {raw.line}: a frame without atoms; not read.")
            return
        if reason is not raw.reason and raw.reason is Quarantine.NONE:
            self._note(f"line {raw.line}: its lines do not fit its columns.")
        if self._heads and head.columns != self._heads[-1].columns:
            self.flush()
        self._heads.append(head)
        self._rows.append(rows)
        self.reasons.append(reason)
        self._natoms += len(rows)
        if self._natoms >= _BLOCK:
            self.flush()

    def _note(self, text: str) -> None:
        self.notes[text] += 1

    def flush(self) -> None:
        """Turn the frames taken since the last time into a block."""
        if self._heads:
            self.blocks.append(_block(self._heads, self._rows, self.where))
            self._heads, self._rows, self._natoms = [], [], 0
