"""Reader of extended XYZ files: frames of any composition, one after the other.

Source: the extended XYZ specification (https://github.com/libAtoms/extxyz).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS, atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, offsets
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, Quarantine, SourceFiles
from dpbench.io.readers.extxyz.comment import (
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
from dpbench.io.readers.extxyz.lines import LineSource, RawFrame, raw_frames
from dpbench.io.readers.tables import to_float

_BLOCK = 50_000
"""Atoms that are turned into arrays at once: bounds the memory spent on words."""

_CONTRADICTION = 1e-4
"""Of the largest element; virial and stress of one frame may differ by rounding."""

_NO_MATRIX = np.full((3, 3), np.nan)
_OPEN = (False, False, False)
_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """What the comment line of a frame says; what it does not say is NaN."""

    columns: Columns
    choice: Choice
    box: NDArray[np.float64] = field(default_factory=_NO_MATRIX.copy)
    pbc: tuple[bool, bool, bool] = _OPEN
    energy: float = np.nan
    virial: NDArray[np.float64] = field(default_factory=_NO_MATRIX.copy)
    stress: NDArray[np.float64] = field(default_factory=_NO_MATRIX.copy)
    faults: tuple[str, ...] = ()
    """What is wrong with it; any fault makes the frame BAD_SHAPE."""


def read(files: SourceFiles) -> ParsedSource:
    """Read all frames of an extended XYZ file.

    Energies are eV, forces eV/Å, ``virial`` eV and ``stress`` eV/Å^3 with tension
    positive, as ASE has it. The level of theory is not declared.

    Raises:
        SourceError: If the file is no extended XYZ file, holds no frame, or names
            an unknown element.
    """
    collector = _Collector(str(files.main))
    with LineSource(files.main) as lines:
        for raw in raw_frames(lines):
            collector.add(raw)
        damage = lines.damage
    collector.flush()
    frames = concatenate(collector.blocks)
    if frames.nframes == 0:
        raise SourceError(
            f"{files.main}: holds no frame{f' ({damage})' if damage else ''}; "
            "expected an atom count, a comment line and atoms. Write the file again."
        )
    reasons = judge(
        frames,
        verdict=collector.reasons,
        energy_given=np.array(collector.energy_given),
        force_given=np.array(collector.force_given),
    )
    notes = list(collector.notes_with_counts())
    if damage:
        notes.append(f"{files.main.name}: cannot be unpacked to its end ({damage}).")
    return ParsedSource(
        code="unknown",
        code_version=None,
        format="extxyz",
        frames=frames,
        step=np.arange(frames.nframes, dtype=np.int32),
        n_scf=np.full(frames.nframes, -1, dtype=np.int16),
        quarantine=reasons,
        theory={},
        complete=not damage and not collector.is_cut,
        notes=tuple(notes),
    )


class _Collector:
    """Turns frames into arrays, a block of equal columns at a time."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.blocks: list[Frames] = []
        self.reasons: list[Quarantine] = []
        self.energy_given: list[bool] = []
        self.force_given: list[bool] = []
        self.is_cut = False
        self._notes: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._heads: list[_Head] = []
        self._rows: list[list[list[str]]] = []
        self._natoms = 0

    def notes_with_counts(self) -> list[str]:
        """Return each note once, with the first line and the number of frames."""
        return [
            f"line {self._first[note]}: {note} ({count} frame{'s' * (count > 1)})"
            for note, count in self._notes.items()
        ]

    def add(self, raw: RawFrame) -> None:
        """Take one frame."""
        head = _read_head(raw.comment)
        faults = list(head.faults)
        rows = raw.rows
        if not _fit(rows, head.columns):
            rows = _salvage(rows, head.columns)
            if raw.reason is Quarantine.NONE:
                faults.append("atom lines that do not fit the columns")
        reason = raw.reason
        self.is_cut |= reason is Quarantine.TRUNCATED
        if faults and reason is Quarantine.NONE:
            reason = Quarantine.BAD_SHAPE
        for note in (*faults, head.choice.note):
            self._note(note, raw.line)
        if reason is not Quarantine.NONE:
            rows = [row for row in rows if _is_element(row, head.columns)]
        if not rows:
            self._note("a frame without a readable atom, left out", raw.line)
            return
        if self._heads and not _same_columns(head, self._heads[-1]):
            self.flush()
        self._heads.append(head)
        self._rows.append(rows)
        self.reasons.append(reason)
        self.energy_given.append(head.choice.energy is not None)
        self.force_given.append(head.choice.force is not None)
        self._natoms += len(rows)
        if self._natoms >= _BLOCK:
            self.flush()

    def _note(self, text: str, line: int) -> None:
        if text:
            self._notes[text] += 1
            self._first.setdefault(text, line)

    def flush(self) -> None:
        """Turn the frames taken since the last time into a block."""
        if not self._heads:
            return
        self.blocks.append(_block(self._heads, self._rows, self.where))
        start = len(self.reasons) - len(self._heads)
        for index in _contradictions(self._heads, self.blocks[-1]):
            if self.reasons[start + index] is Quarantine.NONE:
                self.reasons[start + index] = Quarantine.MISMATCH
        self._heads, self._rows, self._natoms = [], [], 0


def _read_head(comment: str) -> _Head:
    pairs = read_pairs(comment)
    faults = []
    columns = read_columns(pairs.get("properties", DEFAULT_PROPERTIES))
    if columns is None:
        faults.append(f"Properties '{pairs['properties'][:60]}' cannot be used")
        columns = _default_columns()
    choice = choose_labels(tuple(pairs), columns.forces)
    box, pbc, fault = _cell(pairs.get("lattice"), pairs.get("pbc"))
    faults += [fault] if fault else []
    tensors = []
    for key in (choice.virial, choice.stress):
        matrix = None if key is None else read_matrix(pairs[key])
        if key is not None and matrix is None:
            faults.append(f"'{key}' has neither six nor nine numbers")
        tensors.append(_NO_MATRIX if matrix is None else matrix)
    energy = np.nan if choice.energy is None else to_float(pairs[choice.energy])
    return _Head(
        columns=columns,
        choice=choice,
        box=box,
        pbc=pbc,
        energy=energy,
        virial=tensors[0],
        stress=tensors[1],
        faults=tuple(faults),
    )


def _default_columns() -> Columns:
    columns = read_columns(DEFAULT_PROPERTIES)
    if columns is None:
        raise ValueError(f"{DEFAULT_PROPERTIES=} must be readable")
    return columns


@lru_cache(maxsize=64)
def _cell(
    lattice: str | None, given: str | None
) -> tuple[NDArray[np.float64], tuple[bool, bool, bool], str]:
    """Return the box (3, 3), the periodicity, and what is wrong with them.

    Kept for the next frame: in most files the cell does not change.
    """
    flags = None if given is None else read_flags(given)
    if given is not None and flags is None:
        return _NO_MATRIX, _OPEN, f"pbc '{given[:20]}' is neither one nor three flags"
    if lattice is None:
        fault = "pbc without Lattice" if flags is not None and any(flags) else ""
        return _NO_MATRIX, _OPEN, fault
    box = read_lattice(lattice)
    if box is None:
        return _NO_MATRIX, _OPEN, "Lattice is not nine numbers in a row"
    if flags is None:
        flags = (True, True, True)
    if not any(flags) and not box.any():
        return _NO_MATRIX, _OPEN, ""
    return box, flags, ""


def _fit(rows: Sequence[list[str]], columns: Columns) -> bool:
    width = columns.width
    return all(len(row) == width for row in rows)


def _salvage(rows: Sequence[list[str]], columns: Columns) -> list[list[str]]:
    """Keep the atom lines that hold element and position, so the frame can be seen."""
    width = columns.width
    enough = max(columns.species + 1, columns.coord + 3)
    padding = ["nan"] * width
    return [(row + padding)[:width] for row in rows if len(row) >= enough]


def _is_element(row: list[str], columns: Columns) -> bool:
    word = row[columns.species]
    if columns.is_number:
        return word.isdecimal() and 0 < int(word) < len(SYMBOLS)
    return word in _NUMBERS


def _same_columns(head: _Head, other: _Head) -> bool:
    return head.columns == other.columns and head.choice.force == other.choice.force


def _block(
    heads: Sequence[_Head], rows: Sequence[list[list[str]]], where: str
) -> Frames:
    """Turn frames of equal columns into arrays."""
    columns, force = heads[0].columns, heads[0].choice.force
    words = list(chain.from_iterable(chain.from_iterable(rows)))
    box = np.stack([head.box for head in heads])
    virial = np.stack([head.virial for head in heads])
    from_stress = _virial_of(np.stack([head.stress for head in heads]), box)
    no_virial = np.isnan(virial).all(axis=(1, 2), keepdims=True)
    coord = _columns(words, columns.coord, columns.width)
    first, count = columns.aparam
    return Frames(
        atom_offset=offsets([len(frame) for frame in rows]),
        z=_elements(words[columns.species :: columns.width], columns, where),
        coord=coord,
        force=(
            np.full_like(coord, np.nan)
            if force is None
            else _columns(words, force, columns.width)
        ),
        box=box,
        pbc=np.array([head.pbc for head in heads], dtype=np.bool_),
        energy=np.array([head.energy for head in heads], dtype=np.float64),
        virial=np.where(no_virial, from_stress, virial),
        aparam=_columns(words, first, columns.width, count=count) if count else None,
    )


def _virial_of(
    stress: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn stress (frame, 3, 3), eV/Å^3, tension > 0, into virial, eV."""
    virial: NDArray[np.float64] = stress * -volumes(box)[:, None, None]
    return virial


def _contradictions(heads: Sequence[_Head], frames: Frames) -> list[int]:
    """Return the frames whose virial and stress do not tell the same."""
    stress = np.stack([head.stress for head in heads])
    virial = np.stack([head.virial for head in heads])
    from_stress = _virial_of(stress, frames.box)
    gap = np.abs(from_stress - virial).max(axis=(1, 2))
    largest = np.maximum(np.abs(virial).max(axis=(1, 2)), 1e-3)
    # a comparison with NaN is false: frames that lack either do not contradict
    return np.flatnonzero(gap > _CONTRADICTION * largest).tolist()


def _columns(
    words: list[str], first: int, width: int, *, count: int = 3
) -> NDArray[np.float64]:
    out = np.empty((len(words) // width, count))
    for axis in range(count):
        out[:, axis] = _column(words[first + axis :: width])
    return out


def _column(words: list[str]) -> NDArray[np.float64]:
    try:
        return np.fromiter(map(float, words), np.float64, len(words))
    except ValueError:
        return np.array([to_float(word) for word in words], dtype=np.float64)


def _elements(words: list[str], columns: Columns, where: str) -> NDArray[np.uint8]:
    table = _NUMBERS
    if columns.is_number:
        table = {str(z): z for z in range(1, len(SYMBOLS))}
    try:
        return np.fromiter((table[word] for word in words), np.uint8, len(words))
    except KeyError as error:
        if not columns.is_number:
            atomic_numbers(words, where=where)
        raise SourceError(
            f"{where}: unknown atomic number {error}; expected 1 to "
            f"{len(SYMBOLS) - 1}. Correct the source."
        ) from error
