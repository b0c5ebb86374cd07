"""Reader of VASP's OUTCAR: streamed, searched for marks, tables parsed at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.fixed_point import (
    columns_of,
    parse_rows,
    parse_table,
    parse_texts,
)
from dpbench.io.readers.vasp.pieces import (
    FORCES,
    ITERATION,
    ML_TOTEN,
    TOTEN,
    Pieces,
)
from dpbench.io.readers.vasp.run import VaspRun, element_of
from dpbench.io.readers.vasp.settings import outcar_settings

_CELL = b"direct lattice vectors"
_STRESS = b"\n  in kB"
_ABORT = b"aborting "
"""Begins what VASP says of the end of a loop: \"aborting loop because EDIFF is
reached\", \"... EDIFF was not reached\", \"hard stop encountered!  aborting job\"."""
_END = b"General timing and accounting"
_DISPERSION = (b"w/o vdW", b"Edisp (eV)", b"vdW energy (eV)")
"""Marks of a dispersion correction, where no tag that names it is printed."""

_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
"""Order of the stress components on the ``in kB`` line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One ionic step: its numbers, and the text of its small parts."""

    number: int
    n_scf: int
    total: bytes
    """The free energy, eV; empty if not printed."""
    cell: bytes
    """The three rows of the cell; empty if not printed."""
    stress: bytes
    """Six components, kbar; empty if not printed."""
    verdict: Quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """What is told before the first step."""

    z: tuple[int, ...]
    """Atomic number of each atom."""
    settings: dict[str, Any]
    cell: bytes
    """The three rows of the cell; empty if not printed."""


def read_outcar(path: Path) -> VaspRun:
    """Read all ionic steps of an OUTCAR.

    Raises:
        SourceError: If the file is no OUTCAR, or tells no atoms.
    """
    pieces = Pieces(path)
    head: _Head | None = None
    steps: list[_Step] = []
    numbers: list[NDArray[np.float64]] = []
    for text, start, stop in pieces:
        if head is None:
            head = _read_head(pieces, path)
        found, rows = _steps(text, (start, stop), head, behind=_last(steps))
        table, whole = _tables(rows, len(head.z))
        steps += _judged(found, rows, whole)
        numbers.append(table)
    if head is None:
        raise SourceError(f"{path}: is empty; expected an OUTCAR.")
    if ITERATION.search(pieces.rest):
        # What follows the last total energy is a cut step if any iteration of it was
        # begun.
        span = (0, len(pieces.rest))
        cut, part = _step(pieces.rest, span, head, None, _last(steps) + 1)
        table, _ = _tables([part], len(head.z))
        steps.append(cut)
        numbers.append(table)
    values = np.concatenate([*numbers, np.empty((0, len(head.z), 6))])
    keep = [i for i in range(len(steps)) if not _is_twin(i, steps, values)]
    steps, values = [steps[i] for i in keep], values[keep]
    return VaspRun(
        format="vasp/outcar",
        z=head.z,
        coord=values[..., :3].copy(),
        box=_boxes(head.cell, steps),
        energy=parse_texts([step.total for step in steps], 1)[:, 0],
        force=values[..., 3:].copy(),
        stress=_stresses(steps),
        n_scf=np.array([step.n_scf for step in steps], dtype=np.int16),
        step=np.array([step.number for step in steps], dtype=np.int32),
        verdict=tuple(step.verdict for step in steps),
        complete=_END in pieces.rest[-100_000:],
        settings=head.settings,
    )


def _read_head(pieces: Pieces, path: Path) -> _Head:
    text = pieces.first[: pieces.head_end].decode("utf-8", "replace")
    if not re.match(r"\s*vasp\.\d", text):
        raise SourceError(
            f"{path}: does not begin with VASP's version; expected an OUTCAR. Give the "
            "file that VASP wrote."
        )
    settings = outcar_settings(text)
    span = (pieces.head_end, pieces.first_step_end)
    settings["UNNAMED_VDW"] = any(
        pieces.first.find(mark, *span) >= 0 for mark in _DISPERSION
    )
    return _Head(
        z=_atoms(text, settings["TITEL"], path),
        settings=settings,
        cell=_lines_after(pieces.first, _CELL, (0, pieces.head_end), count=3),
    )


def _last(steps: Sequence[_Step]) -> int:
    return steps[-1].number if steps else 0


def _judged(
    steps: list[_Step], rows: list[bytes], whole: list[bool]
) -> Iterator[_Step]:
    """Mark steps whose table stops inside the step: it was overwritten there."""
    for step, text, is_whole in zip(steps, rows, whole, strict=True):
        is_cut = text and not is_whole and step.verdict is Quarantine.NONE
        yield replace(step, verdict=Quarantine.TRUNCATED) if is_cut else step


def _atoms(head: str, titles: list[str], path: Path) -> tuple[int, ...]:
    counts_line = re.search(r"ions per type =([ \d]+)", head)
    names = re.findall(r"VRHFIN\s*=\s*([A-Za-z]+)", head)
    counts = [int(word) for word in counts_line[1].split()] if counts_line else []
    if not counts or len(titles) != len(counts):
        raise SourceError(
            f"{path}: {len(titles)} POTCAR titles for {len(counts)} entries of 'ions "
            "per type'; expected as many. Keep the whole file; if VASP <= 6.3 cut its "
            "list of titles, put vasprun.xml beside it."
        )
    symbols: list[str] = []
    for number, (title, count) in enumerate(zip(titles, counts, strict=True)):
        words = title.split()
        name = words[1] if len(words) > 1 else words[0]
        symbol = element_of(name)
        if symbol is None and number < len(names):
            symbol = element_of(names[number])
        symbols += [symbol or name] * count
    return atomic_numbers(symbols, where=f"{path}: TITEL")


def _is_twin(index: int, steps: list[_Step], values: NDArray[np.float64]) -> bool:
    """Whether a machine-learned block stands beside the DFT one of the same step.

    Training prints both; their positions are the same to the last digit.
    """
    if steps[index].verdict is not Quarantine.NOT_DFT:
        return False
    return any(
        steps[other].verdict is not Quarantine.NOT_DFT
        and bool((values[other, :, :3] == values[index, :, :3]).all())
        for other in (index - 1, index + 1)
        if 0 <= other < len(steps)
    )


def _steps(
    data: bytes, span: tuple[int, int], head: _Head, *, behind: int
) -> tuple[list[_Step], list[bytes]]:
    """Collect the steps of a piece, and the rows of the table of each.

    Each step ends with its total free energy. ``behind`` is the number of the step
    before the first.
    """
    start, end = span
    has_ml = data.find(ML_TOTEN, start, end) >= 0
    steps: list[_Step] = []
    rows: list[bytes] = []
    while start < end:
        stop, is_ml = _next_total(data, (start, end), has_ml=has_ml)
        if stop < 0:
            break
        line_end = data.find(b"\n", stop)
        step, text = _step(
            data, (start, stop), head, data[stop:line_end], behind + 1, is_ml=is_ml
        )
        steps.append(step)
        rows.append(text)
        behind = step.number
        start = line_end
    return steps, rows


def _next_total(
    data: bytes, span: tuple[int, int], *, has_ml: bool
) -> tuple[int, bool]:
    dft = data.find(TOTEN, *span)
    if not has_ml:
        return dft, False
    learned = data.find(ML_TOTEN, *span)
    if learned >= 0 and (dft < 0 or learned < dft):
        return learned, True
    return dft, False


def _step(
    data: bytes,
    span: tuple[int, int],
    head: _Head,
    total: bytes | None,
    number: int,
    *,
    is_ml: bool = False,
) -> tuple[_Step, bytes]:
    """Collect the parts of the step in ``span``; ``total`` None means it was cut.

    Returns:
        The step, and the rows of its table of positions and forces.
    """
    start, stop = span
    n_scf = -1
    verdict = Quarantine.NOT_DFT if is_ml else Quarantine.NONE
    at = data.rfind(b"Iteration", start, stop)
    table = data.rfind(FORCES, start, stop)
    if at >= 0:
        match = ITERATION.match(data, at)
        if match is not None and b"*" not in match[0]:
            number, n_scf = int(match[1]), int(match[2])
    # What a step tells stands behind its last iteration, cell and stress before the
    # table; the table need not be searched for them.
    own = max(at, start)
    before = (own, table if table >= own else stop)
    is_torn = total is None or 0 <= table < own
    # zeros are what a crashed disk leaves
    is_torn |= data.find(b"\0", start, stop + len(total or b"")) >= 0
    # Each part stands there once; twice, lines of two steps ran together.
    is_torn |= data.find(FORCES, own, stop) not in (table, -1)
    is_torn |= any(
        data.find(mark, *before) != data.rfind(mark, *before)
        for mark in (_STRESS, _CELL)
    )
    if is_torn:
        verdict = Quarantine.TRUNCATED
    elif not is_ml and not _converged(data, (own, stop), n_scf, head.settings):
        verdict = Quarantine.UNCONVERGED
    step = _Step(
        number=number,
        n_scf=min(n_scf, 32_767),
        total=total[total.find(b"=") + 1 :] if total else b"",
        cell=_lines_after(data, _CELL, before, count=3),
        stress=_line_with(data, _STRESS, before),
        verdict=verdict,
    )
    has_table = table >= own
    return step, _rows(data, table, stop, natoms=len(head.z)) if has_table else b""


def _converged(
    data: bytes, span: tuple[int, int], n_scf: int, settings: dict[str, Any]
) -> bool:
    """Judge the last electronic iteration, which ``span`` begins with.

    VASP 5 prints "aborting loop because EDIFF is reached" after the last allowed
    iteration too, converged or not: there only the count tells. VASP 6 says which.
    """
    at = data.rfind(_ABORT, *span)
    message = data[at : data.find(b"\n", at)] if at >= 0 else b""
    if b"not reached" in message or b"aborting job" in message:
        return False
    nelm = settings.get("NELM")
    if nelm is None or n_scf < nelm:
        return True
    version = re.match(r"\d+", settings.get("VERSION") or "")
    is_frank = version is not None and int(version[0]) >= 6
    return is_frank and b"EDIFF is reached" in message


def _rows(data: bytes, table: int, stop: int, *, natoms: int) -> bytes:
    """Return the rows of the table of positions and forces that begins at ``table``."""
    first = data.find(b"\n", data.find(b"\n", table, stop) + 1, stop) + 1
    # Minus signs make the search for the rule below slow; most rows are as wide as the
    # first.
    end = first + natoms * (data.find(b"\n", first, stop) + 1 - first)
    if 0 < first < end <= stop and data.startswith(b" ---", end):
        return data[first:end]
    end = data.find(b"\n ---", first - 1, stop) + 1
    return data[first:end] if 0 < first < end else b""


def _lines_after(
    data: bytes, mark: bytes, span: tuple[int, int], *, count: int
) -> bytes:
    at = data.rfind(mark, *span)
    first = data.find(b"\n", at, span[1]) + 1 if at >= 0 else 0
    end = first
    for _ in range(count):
        end = data.find(b"\n", end, span[1]) + 1 if end else 0
    return data[first:end] if end else b""


def _line_with(data: bytes, mark: bytes, span: tuple[int, int]) -> bytes:
    at = data.rfind(mark, *span)
    end = data.find(b"\n", at + len(mark), span[1]) if at >= 0 else -1
    return data[at + len(mark) : end] if end >= 0 else b""


def _tables(tables: list[bytes], natoms: int) -> tuple[NDArray[np.float64], list[bool]]:
    """Parse the rows of tables of positions and forces.

    Returns:
        (table, atom, 6), and which tables are whole.
    """
    numbers = np.full((len(tables), natoms, 6), np.nan)
    sample = next((t for t in tables if t.count(b"\n") == natoms), b"")
    width = sample.find(b"\n") + 1
    columns = columns_of(sample[:width], 6)
    regular = [i for i, t in enumerate(tables) if width and len(t) == width * natoms]
    parsed = None
    if columns is not None and regular:
        parsed = parse_rows([tables[i] for i in regular], columns, width=width)
    if parsed is not None:
        numbers[regular] = parsed.reshape(len(regular), natoms, 6)
        slow = sorted(set(range(len(tables))) - set(regular))
    else:
        slow = list(range(len(tables)))
    whole = [True] * len(tables)
    for i in slow:
        table = parse_table(tables[i], 6)
        whole[i] = table is not None and len(table) == natoms
        if table is not None and whole[i]:
            numbers[i] = table
    return numbers, whole


def _boxes(head: bytes, steps: list[_Step]) -> NDArray[np.float64]:
    """Cell of each step; one that is not printed is that of the step before."""
    boxes = np.full((len(steps), 3, 3), np.nan)
    last = _box(head)
    known = {b"": last}
    for i, step in enumerate(steps):
        if step.cell not in known:
            known[step.cell] = _box(step.cell)
        last = known[step.cell] if step.cell else last
        boxes[i] = last
    return boxes


def _box(text: bytes) -> NDArray[np.float64]:
    table = parse_table(text, 6)
    if table is None or len(table) != 3:
        return np.full((3, 3), np.nan)
    return table[:, :3]


def _stresses(steps: list[_Step]) -> NDArray[np.float64]:
    values = parse_texts([step.stress for step in steps], len(_VOIGT))
    stress = np.empty((len(steps), 3, 3))
    for column, (a, b) in enumerate(_VOIGT):
        stress[:, a, b] = stress[:, b, a] = values[:, column]
    return stress
