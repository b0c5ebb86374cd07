"""Reader of VASP's OUTCAR: one pass of substring searches, tables parsed at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.io.parsed import Quarantine
from dpbench.io.readers.fixed_point import columns_of, numbers_of, parse_rows
from dpbench.io.readers.vasp_run import VaspRun, element_of
from dpbench.io.readers.vasp_settings import outcar_settings
from dpbench.io.text import read_bytes

_TOTEN = b"free  energy   TOTEN  ="
_ML_TOTEN = b"free  energy ML TOTEN"
_FORCES = b"TOTAL-FORCE (eV/Angst)"
_CELL = b"direct lattice vectors"
_STRESS = b"\n  in kB"
_ABORT = b"aborting "
"""Begins what VASP says of the end of a loop: \"aborting loop because EDIFF is
reached\", \"... EDIFF was not reached\", \"hard stop encountered!  aborting job\"."""
_END = b"General timing and accounting"
_ITERATION = re.compile(rb"Iteration\s+(\d+|\*+)\(\s*(\d+|\*+)\s*\)")
_DISPERSION = (b"w/o vdW", b"Edisp (eV)", b"vdW energy (eV)")
"""Marks of a dispersion correction, where no tag that names it is printed."""

_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))
"""Order of the stress components on the ``in kB`` line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One ionic step: its numbers, and where its large parts stand."""

    number: int
    n_scf: int
    energy: float
    rows: bytes
    """Rows of positions and forces; empty if not printed."""
    cell: bytes
    """The three rows of the cell; empty if not printed."""
    stress: bytes
    """Six components, kbar; empty if not printed."""
    verdict: Quarantine


def read_outcar(path: Path) -> VaspRun:
    """Read all ionic steps of an OUTCAR.

    Raises:
        SourceError: If the file is no OUTCAR, or tells no atoms.
    """
    data = read_bytes(path)
    marks = [data.find(mark) for mark in (b"Iteration", b"Ionic step", _FORCES)]
    start = min((at for at in marks if at >= 0), default=len(data))
    head = data[:start].decode("utf-8", "replace")
    if not re.match(r"\s*vasp\.\d", head):
        raise SourceError(
            f"{path}: does not begin with VASP's version; expected an OUTCAR. Give the "
            "file that VASP wrote."
        )
    settings = outcar_settings(head)
    z = _atoms(head, settings["TITEL"], path)
    end = data.find(b"LOOP+", start)
    settings["UNNAMED_VDW"] = any(
        data.find(mark, start, end if end >= 0 else len(data)) >= 0
        for mark in _DISPERSION
    )
    complete = data.find(_END, max(len(data) - 100_000, 0)) >= 0
    steps = list(_steps(data, settings))
    coord, force, whole = _tables(steps, len(z))
    keep = [i for i in range(len(steps)) if not _is_twin(i, steps, coord)]
    steps, coord, force = [steps[i] for i in keep], coord[keep], force[keep]
    whole = [whole[i] for i in keep]
    # A table that stops inside the step was overwritten there.
    verdict = [
        Quarantine.TRUNCATED
        if step.rows and not ok and step.verdict is Quarantine.NONE
        else step.verdict
        for step, ok in zip(steps, whole, strict=True)
    ]
    return VaspRun(
        format="vasp/outcar",
        z=z,
        coord=coord,
        box=_boxes(data, start, steps),
        energy=np.array([step.energy for step in steps], dtype=np.float64),
        force=force,
        stress=_stresses(steps),
        n_scf=np.array([step.n_scf for step in steps], dtype=np.int16),
        step=np.array([step.number for step in steps], dtype=np.int32),
        verdict=tuple(verdict),
        complete=complete,
        settings=settings,
    )


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


def _is_twin(index: int, steps: list[_Step], coord: NDArray[np.float64]) -> bool:
    """Whether a machine-learned block stands beside the DFT one of the same step.

    Training prints both; their positions are the same to the last digit.
    """
    if steps[index].verdict is not Quarantine.NOT_DFT:
        return False
    return any(
        steps[other].verdict is not Quarantine.NOT_DFT
        and bool((coord[other] == coord[index]).all())
        for other in (index - 1, index + 1)
        if 0 <= other < len(steps)
    )


def _steps(data: bytes, settings: dict[str, Any]) -> Iterator[_Step]:
    """Walk over the ionic steps; each ends with its total free energy."""
    has_ml = data.find(_ML_TOTEN) >= 0
    start = number = 0
    while True:
        stop, is_ml = _next_total(data, start, has_ml=has_ml)
        line_end = data.find(b"\n", stop) if stop >= 0 else -1
        if line_end < 0:
            # What follows the last total energy is a cut step if any iteration or
            # table of it was begun.
            if _ITERATION.search(data, start):
                yield _step(data, (start, len(data)), settings, None, number + 1)
            return
        step = _step(
            data, (start, stop), settings, data[stop:line_end], number + 1, is_ml=is_ml
        )
        yield step
        number = step.number
        start = line_end


def _next_total(data: bytes, start: int, *, has_ml: bool) -> tuple[int, bool]:
    dft = data.find(_TOTEN, start)
    if not has_ml:
        return dft, False
    learned = data.find(_ML_TOTEN, start)
    if learned >= 0 and (dft < 0 or learned < dft):
        return learned, True
    return dft, False


def _step(
    data: bytes,
    span: tuple[int, int],
    settings: dict[str, Any],
    total: bytes | None,
    number: int,
    *,
    is_ml: bool = False,
) -> _Step:
    """Collect the parts of the step in ``span``; ``total`` None means it was cut."""
    start, stop = span
    n_scf = -1
    verdict = Quarantine.NOT_DFT if is_ml else Quarantine.NONE
    at = data.rfind(b"Iteration", start, stop)
    if at >= 0:
        match = _ITERATION.match(data, at)
        if match is not None and b"*" not in match[0]:
            number, n_scf = int(match[1]), int(match[2])
    if total is None:
        verdict = Quarantine.TRUNCATED
    elif not is_ml and not _converged(data, (max(at, start), stop), n_scf, settings):
        verdict = Quarantine.UNCONVERGED
    energies = numbers_of(total[total.find(b"=") + 1 :]) if total else []
    return _Step(
        number=number,
        n_scf=min(n_scf, 32_767),
        energy=energies[0] if energies else float("nan"),
        rows=_rows(data, start, stop),
        cell=_lines_after(data, _CELL, span, count=3),
        stress=_line_with(data, _STRESS, span),
        verdict=verdict,
    )


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


def _rows(data: bytes, start: int, stop: int) -> bytes:
    """Return the rows of the last table of positions and forces."""
    at = data.rfind(_FORCES, start, stop)
    if at < 0:
        return b""
    first = data.find(b"\n", data.find(b"\n", at, stop) + 1, stop) + 1
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


def _tables(
    steps: list[_Step], natoms: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[bool]]:
    """Parse positions and forces of all steps, and tell which tables are whole."""
    numbers = np.full((len(steps), natoms, 6), np.nan)
    sample = next((s.rows for s in steps if s.rows.count(b"\n") == natoms), b"")
    width = sample.find(b"\n") + 1
    columns = columns_of(sample[:width], 6)
    regular = [
        i for i, s in enumerate(steps) if width and len(s.rows) == width * natoms
    ]
    parsed = None
    if columns is not None and regular:
        parsed = parse_rows([steps[i].rows for i in regular], columns, width=width)
    if parsed is not None:
        numbers[regular] = parsed.reshape(len(regular), natoms, 6)
        slow = sorted(set(range(len(steps))) - set(regular))
    else:
        slow = list(range(len(steps)))
    whole = [True] * len(steps)
    for i in slow:
        lines = steps[i].rows.splitlines()
        whole[i] = len(lines) == natoms
        for atom, line in enumerate(lines[:natoms]):
            row = numbers_of(line)[:6]
            if len(row) == 6:
                numbers[i, atom] = row
    return numbers[..., :3].copy(), numbers[..., 3:].copy(), whole


def _boxes(data: bytes, start: int, steps: list[_Step]) -> NDArray[np.float64]:
    """Cell of each step; one that is not printed is that of the step before."""
    boxes = np.full((len(steps), 3, 3), np.nan)
    last = _box(_lines_after(data, _CELL, (0, start), count=3))
    known = {b"": last}
    for i, step in enumerate(steps):
        if step.cell not in known:
            known[step.cell] = _box(step.cell)
        last = known[step.cell] if step.cell else last
        boxes[i] = last
    return boxes


def _box(text: bytes) -> NDArray[np.float64]:
    rows = [numbers_of(line)[:3] for line in text.splitlines()]
    if len(rows) != 3 or any(len(row) != 3 for row in rows):
        return np.full((3, 3), np.nan)
    return np.array(rows)


def _stresses(steps: list[_Step]) -> NDArray[np.float64]:
    stress = np.full((len(steps), 3, 3), np.nan)
    for i, step in enumerate(steps):
        values = numbers_of(step.stress)
        if len(values) == 6:
            for (a, b), value in zip(_VOIGT, values, strict=True):
                stress[i, a, b] = stress[i, b, a] = value
    return stress
