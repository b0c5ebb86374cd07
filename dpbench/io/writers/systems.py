"""Systems of DeePMD-kit: frames that one block of arrays can hold.

Frames of a system share the sequence of atom types (mixed type: the number of atoms
only), the labels that they have, and whether they have a cell. Atoms are never sorted.

Source: DeePMD-kit documentation, "Formats of a system" (doc/data/system.md), and
dpdata 1.1, ``deepmd/npy`` and ``deepmd/npy/mixed``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.io.exchange.content import Content
from dpbench.store.formulas import hill_formula

SET_FRAMES = 5000
"""Frames of a set, as dpdata has it."""

Columns = dict[str, tuple[np.dtype[Any], int]]
"""Type and numbers a frame of arrays, by name."""

MANY_SYSTEMS = 1000
"""Systems above which the mixed type is advised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """Frames that go to one folder or group."""

    name: str
    """Folder or group: the formula (mixed type: the number of atoms), and what is
    missing."""
    positions: NDArray[np.int64]
    """(frame), positions in the content, rising."""
    natoms: int
    """Number of atoms."""
    types: NDArray[np.int64]
    """(atom), index into the type map; zeros for mixed type."""
    has_cell: bool
    """Whether the frames are periodic."""
    labels: tuple[str, ...]
    """Labels that all frames have, of ``energy``, ``force`` and ``virial``."""
    numb_aparam: int
    """Numbers of each atom of all frames (``aparam``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameSet:
    """One ``set.NNN`` of a system."""

    name: str
    """``set.000``"""
    positions: NDArray[np.int64]
    """(frame), positions in the content."""


def find_systems(content: Content, *, mixed: bool) -> list[System]:
    """Group the frames of a content; systems come in the order of their names."""
    survey = content.survey
    has_cell = survey.pbc.any(axis=1) & survey.has_box
    group = content.natoms if mixed else survey.sequence
    keys = np.column_stack(
        [
            group,
            has_cell,
            survey.has_energy,
            survey.has_force,
            survey.has_virial,
            survey.numb_aparam,
        ]
    ).astype(np.int64)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    index_of = {name: i for i, name in enumerate(content.elements)}
    table = np.array([index_of.get(symbol, -1) for symbol in SYMBOLS])
    order = np.argsort(inverse.reshape(-1), kind="stable")
    edges = np.searchsorted(inverse.reshape(-1)[order], np.arange(len(unique) + 1))
    systems: list[System] = []
    for number, (what, cell, *given, count) in enumerate(unique.tolist()):
        positions = order[edges[number] : edges[number + 1]]
        sequence = np.frombuffer(survey.sequences[what] if not mixed else b"", np.uint8)
        name = str(what) if mixed else _formula(sequence)
        pairs = zip(("energy", "force", "virial"), given, strict=True)
        labels = tuple(label for label, has in pairs if has)
        missing = [x for x in ("energy", "force") if x not in labels]
        if "virial" not in labels and cell and survey.has_virial.any():
            missing.append("virial")
        missing += [] if cell else ["pbc"]
        missing += ["aparam"] if not count and survey.numb_aparam.any() else []
        systems.append(
            System(
                name="-".join([name, *(f"no{x}" for x in missing)]),
                positions=positions,
                natoms=what if mixed else len(sequence),
                types=np.zeros(what, dtype=np.int64) if mixed else table[sequence],
                has_cell=bool(cell),
                labels=labels,
                numb_aparam=count,
            )
        )
    return _with_distinct_names(systems)


def system_notes(content: Content, systems: list[System]) -> tuple[str, ...]:
    """Say what frames lose when they are put into these systems."""
    notes = list(periodicity_notes(content))
    if len(systems) > MANY_SYSTEMS:
        notes.append(
            f"{len(systems)} systems, one for each order of atoms: deepmd/npy/mixed or "
            "deepmd/lmdb suit such data better"
        )
    return tuple(notes)


def loses_cells(content: Content) -> bool:
    """Tell whether a frame has a cell without being periodic: it is not written."""
    survey = content.survey
    return bool((survey.has_box & ~survey.pbc.any(axis=1)).any())


def periodicity_notes(content: Content) -> tuple[str, ...]:
    """Say which frames are neither periodic in all directions nor without a cell."""
    survey = content.survey
    is_cell = survey.pbc.any(axis=1)
    slabs = int((is_cell & ~survey.pbc.all(axis=1)).sum())
    boxes = int((~is_cell & survey.has_box).sum())
    notes = []
    if slabs:
        notes.append(
            f"periodicity in some directions only, of {slabs} frames: other programs "
            "take them as periodic in all; 'dpbench dataset import' restores it"
        )
    if boxes:
        notes.append(
            f"the cell of {boxes} frames that are not periodic: an import gives them "
            "without, and another digest"
        )
    charge = np.nan_to_num(content.electrons["charge"])
    charged = int((charge != 0).sum())
    spins = int((content.electrons["multiplicity"] > 1).sum())
    if charged or spins:
        notes.append(
            f"charge ({charged} frames) and spin multiplicity ({spins} frames other "
            "than singlets), for other programs; they stand in dpbench-frames.npy"
        )
    return tuple(notes)


def sets_of(system: System) -> Iterator[FrameSet]:
    """Cut a system into sets."""
    count = -(-len(system.positions) // SET_FRAMES)
    width = max(3, len(str(count - 1)))  # programs sort the names as text
    for number in range(count):
        start = number * SET_FRAMES
        yield FrameSet(
            name=f"set.{number:0{width}d}",
            positions=system.positions[start : start + SET_FRAMES],
        )


def columns_of(system: System, content: Content) -> Columns:
    """Return type and numbers a frame of each array of a set, by DeePMD-kit's name."""
    single, double = content.dtype, np.dtype(np.float64)
    columns: Columns = {"coord": (single, 3 * system.natoms)}
    if system.has_cell:
        columns["box"] = (double, 9)
    sizes = {"energy": (double, 1), "force": (single, 3 * system.natoms)}
    sizes["virial"] = (double, 9)
    if system.numb_aparam:
        columns["aparam"] = (double, system.natoms * system.numb_aparam)
    return columns | {label: sizes[label] for label in system.labels}


def rows_of(name: str, frames: Frames) -> NDArray[np.floating]:
    """Return an array of frames of a system as (frame, numbers)."""
    array: NDArray[np.floating] = getattr(frames, name)
    if name == "aparam":
        array = array[:, : int(frames.numb_aparam[0])]
    return array.reshape(frames.nframes, -1)


def real_types(frames: Frames, elements: tuple[str, ...]) -> NDArray[np.int32]:
    """Return (frame, atom) index into the type map, of frames of equal natoms."""
    index_of = {name: i for i, name in enumerate(elements)}
    table = np.array([index_of.get(symbol, -1) for symbol in SYMBOLS], dtype=np.int32)
    return table[frames.z].reshape(frames.nframes, -1)


def _formula(sequence: NDArray[np.uint8]) -> str:
    numbers, counts = np.unique(sequence, return_counts=True)
    return hill_formula(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def _with_distinct_names(systems: list[System]) -> list[System]:
    """Number the systems that share a name: equal formulas, other order of atoms."""
    seen: dict[str, int] = {}
    out = []
    for system in systems:
        seen[system.name] = seen.get(system.name, 0) + 1
        number = seen[system.name]
        name = system.name if number == 1 else f"{system.name}-{number}"
        out.append(replace(system, name=name))
    return sorted(out, key=lambda system: system.name)
